package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	podrun "github.com/cloister-cc/cloister/shim/run"
)

func TestHints(t *testing.T) {
	dir := t.TempDir()
	_, absent := readState(filepath.Join(dir, "absent"))
	_, empty := readState(dir)
	_, images := resolvePod(t.Context(), nil, filepath.Join(dir, "absent"))
	_, guest := measureImage(filepath.Join(dir, "absent"))
	for name, c := range map[string]struct {
		err       error
		want, not string
	}{
		"state-dir-held":  {runHint(fmt.Errorf("claim: %w", unix.EWOULDBLOCK), dir), "--state-dir", "temporarily"},
		"no-snp":          {runHint(fmt.Errorf("launch: %w", podrun.ErrNoSNP), dir), "--tee emulated", "--state-dir"},
		"container-ended": {execHint(fmt.Errorf("exec: %w", status.Error(codes.FailedPrecondition, `container "7f" is not running`)), "p", "c"), `container "c" of pod "p": it is not running`, "rpc error"},
		"too-many-execs":  {execHint(status.Error(codes.FailedPrecondition, "has 64 running exec processes"), "p", "c"), "64 running", "ended"},
		"no-state-dir":    {absent, "cloister run", "stat "},
		"no-state":        {empty, "cloister run", "stat "},
		"no-images":       {images, "make demo", "--state-dir"},
		"no-guest":        {guest, "guest build", "--state-dir"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), c.not) {
			t.Errorf("%s: got %v, want %q and not %q", name, c.err, c.want, c.not)
		}
	}
	other := errors.New("other")
	if runHint(other, dir) != other || execHint(other, "p", "c") != other || execHint(nil, "p", "c") != nil {
		t.Error("an error that needs no hint was changed")
	}
}

func TestVersionAndBareGroups(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--version"}, "cloister " + version},
		{[]string{"version"}, "cloister " + version},
		{[]string{}, "policy"},
		{[]string{"policy"}, "generate"},
		{[]string{"dev", "tee"}, "disk"},
		{[]string{"layer", "root", "--help"}, "does not check"},
	} {
		var out bytes.Buffer
		cmd := newRoot()
		cmd.SetArgs(c.args)
		cmd.SetOut(&out)
		if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: got %q, %v, want %q", c.args, out.String(), err, c.want)
		}
	}
}
