package hotplug

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tree makes a small sysfs of files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	sys := t.TempDir()
	for name, text := range files {
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func check(t *testing.T, sys string, want map[string]string) {
	t.Helper()
	for name, text := range want {
		// What was there is not cut off, as it is not in the kernel's files.
		got, err := os.ReadFile(filepath.Join(sys, name))
		if err != nil || !strings.HasPrefix(string(got), text) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, text)
		}
	}
}

func TestProcessors(t *testing.T) {
	sys := tree(t, map[string]string{
		"devices/system/cpu/cpu1/online": "1\n", "devices/system/cpu/cpu2/online": "0\n", "devices/system/cpu/cpu10/online": "0\n",
		"devices/system/cpu/cpufreq/online": "0\n", "devices/system/cpu/online": "0-1\n",
	})
	if err := Processors(t.Context(), sys, 2); err != nil {
		t.Fatal(err)
	}
	check(t, sys, map[string]string{
		"devices/system/cpu/cpu2/online": "1", "devices/system/cpu/cpu10/online": "1", "devices/system/cpu/cpufreq/online": "0",
		"devices/system/cpu/online": "0-1",
	})
	if err := Processors(t.Context(), sys, 0); err != nil {
		t.Errorf("none: got %v", err)
	}
}

// TestProcessorsThatDoNotCome: the host announced more than it plugged in.
func TestProcessorsThatDoNotCome(t *testing.T) {
	sys := tree(t, map[string]string{"devices/system/cpu/cpu2/online": "0\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Processors(ctx, sys, 2)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "got 1, want 2") {
		t.Errorf("got %v, want a deadline and the numbers", err)
	}
}

func TestMemory(t *testing.T) {
	sys := tree(t, map[string]string{
		"devices/system/memory/auto_online_blocks": "offline\n", "devices/system/memory/memory0/state": "online\n",
		"devices/system/memory/memory32/state": "offline\n", "devices/system/memory/memory33/state": "going-offline\n",
	})
	if err := Memory(sys); err != nil {
		t.Fatal(err)
	}
	check(t, sys, map[string]string{
		"devices/system/memory/auto_online_blocks": "online", "devices/system/memory/memory32/state": "online",
		"devices/system/memory/memory33/state": "going-offline",
	})
	if err := Memory(t.TempDir()); err == nil || !strings.Contains(err.Error(), "takes none") {
		t.Errorf("a kernel without: got %v", err)
	}
}
