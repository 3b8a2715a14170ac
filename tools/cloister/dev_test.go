package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/emulator/kds"
)

func TestDevTEEUsage(t *testing.T) {
	keys, err := attestKeys()
	if err != nil {
		t.Fatal(err)
	}
	disk := []string{
		"dev", "tee", "disk", "--dir", keys.Dir(), "-o", filepath.Join(t.TempDir(), "tee.img"), "--host-data", strings.Repeat("ab", 32),
		"--measurement", strings.Repeat("cd", 48),
	}
	serve := []string{"dev", "tee", "serve", "--dir", keys.Dir()}
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"processor", append(disk, "--processor", "rome"), exitUsage},
		{"fault", append(disk, "--fault", "fire"), exitUsage},
		{"lag behind no upgrade", append(disk, "--fault", "tcb-lag"), exitUsage},
		{"report version", append(disk, "--report-version", "6"), exitUsage},
		{"disk with all of it", append(disk, "--processor", "turin", "--vlek", "--report-version", "5", "--fault", "tcb-upgrade,after=2"), 0},
		{"serve nothing", serve, exitUsage},
		{"serve to the world", append(serve, "--kds", "0.0.0.0:0"), exitUsage},
		{"one good and one bad", append(serve, "--kds", ":0", "--thim", "example.org:80"), exitUsage},
		{"revoke what", append(serve, "--kds", ":0", "--revoke", "ark"), exitUsage},
		{"serve help", []string{"dev", "tee", "serve", "--help"}, 0},
		{"faults for real hardware", []string{"run", "pod.yaml", "--tee", "snp", "--tee-fault", "wiped"}, exitUsage},
		{"unknown fault", []string{"run", "pod.yaml", "--tee-fault", "fire"}, exitUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := run(t.Context(), c.args); got != c.want {
				t.Errorf("got exit code %d, want %d", got, c.want)
			}
		})
	}
}

// Only init makes keys.
func TestDevTEEMakesNoKeysByTheWay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, args := range [][]string{
		{"serve", "--kds", ":0"},
		{"disk", "-o", filepath.Join(t.TempDir(), "tee.img"), "--host-data", strings.Repeat("ab", 32), "--measurement", strings.Repeat("cd", 48)},
	} {
		root := newRoot()
		root.SetArgs(append([]string{"dev", "tee"}, append(args, "--dir", dir)...))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "cloister dev tee init --dir "+dir) {
			t.Errorf("%s: got %v, want the command that makes keys", args[0], err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%s: made %q", args[0], dir)
		}
	}
}

func TestDevTEEDiskSaysWhatWasAsked(t *testing.T) {
	keys, err := attestKeys()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tee.img")
	if code := run(t.Context(), []string{
		"dev", "tee", "disk", "--dir", keys.Dir(), "-o", path, "--host-data", strings.Repeat("ab", 32), "--measurement", strings.Repeat("cd", 48),
		"--processor", "siena", "--vlek", "--report-version", "2", "--fault", "busy,after=3,times=31", "--fault", "wiped,after=4",
	}); code != 0 {
		t.Fatalf("got exit code %d", code)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := emulator.ReadTEEDisk(f)
	if err != nil {
		t.Fatal(err)
	}
	if p.Line != snp.Genoa || p.CPU.Model != 0xA0 || !p.VLEK || p.ReportVersion != 2 {
		t.Errorf("got line %s, processor %s, vlek %t, version %d", p.Line, p.CPU, p.VLEK, p.ReportVersion)
	}
	want := []emulator.Fault{{Kind: emulator.FaultBusy, After: 3, Times: 31}, {Kind: emulator.FaultWiped, After: 4}}
	if d := cmp.Diff(want, p.Faults); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
}

// TestDevTEEServe runs the command as a user does, asks both servers and interrupts it.
func TestDevTEEServe(t *testing.T) {
	keys, err := attestKeys()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	root := newRoot()
	root.SetArgs([]string{"dev", "tee", "serve", "--dir", keys.Dir(), "--kds", ":0", "--thim", "127.0.0.1:0", "--processor", "milan"})
	root.SetOut(w)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	lines := bufio.NewReader(r)
	urls := map[string]string{}
	for range 2 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		name, url, _ := strings.Cut(strings.TrimSpace(line), " ")
		urls[name] = strings.TrimSpace(url)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(url string, header bool) string {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header {
			req.Header.Set("Metadata", "true")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s %v: %s", url, resp.Status, err, b)
		}
		return string(b)
	}
	leaf := fmt.Sprintf("Milan/%s?blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219", hex.EncodeToString(keys.HWID(snp.Milan)))
	if !strings.Contains(ask(urls["kds"]+leaf, false), emulator.Subject) {
		t.Error("kds: the certificate does not say whose it is")
	}
	if !strings.HasSuffix(urls["thim"], kds.PathTHIM) || !strings.Contains(ask(urls["thim"], true), `"tcbm":"DB18000000000004"`) {
		t.Errorf("thim: another answer at %q", urls["thim"])
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("after the interrupt: %v", err)
	}
}
