package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestDemo(t *testing.T, w io.Writer) *demo {
	t.Helper()
	return &demo{out: newOutput(w), dir: t.TempDir()}
}

func TestRefuse(t *testing.T) {
	cases := []struct {
		name, script, want string // want is part of the error; empty: none
	}{
		{"refused-for-the-reason", "echo 'x: mount_device: deviceHash' >&2; exit 1", ""},
		{"refused-for-another", "echo 'no such file' >&2; exit 1", `does not name "mount_device"`},
		{"not-refused", "echo mount_device", "was not refused"},
		{"usage", "echo mount_device; exit 2", "exit code got 2"},
		{"killed", "echo mount_device; kill -9 $$", "killed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := newTestDemo(t, io.Discard).refuse(t.Context(), exitRefused, []string{"mount_device"}, all, "/bin/sh", "-c", c.script)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestSucceedShowsCommandAndOutput(t *testing.T) {
	var b bytes.Buffer
	out, err := newTestDemo(t, &b).succeed(t.Context(), "/bin/sh", "-c", "echo one; echo two >&2; printf three")
	if err != nil || !slices.Equal(out, []string{"one", "two", "three"}) {
		t.Errorf("got %q, %v", out, err)
	}
	if want := "  $ /bin/sh -c 'echo one; echo two >&2; printf three'\n    one\n    two\n    three\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	if _, err := newTestDemo(t, io.Discard).succeed(t.Context(), "/bin/false"); err == nil {
		t.Error("exit code 1: got no error")
	}
	if _, err := newTestDemo(t, io.Discard).succeed(t.Context(), "/nonexistent"); err == nil {
		t.Error("no program: got no error")
	}
}

func TestAwait(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	has := func(want string) func([]string) bool {
		return func(lines []string) bool { return slices.Contains(lines, want) }
	}
	p, err := newTestDemo(t, io.Discard).start(ctx, all, false, "/bin/sh", "-c", "echo up; trap 'echo ended; exit 0' INT; while :; do sleep 0.05; done")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.await(ctx, "up", has("up")); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(ctx, 10*time.Millisecond)
	defer stop()
	if err := p.await(short, "never", has("never")); err == nil || !strings.Contains(err.Error(), "wait for never") {
		t.Errorf("got %v, want that the wait timed out", err)
	}
	if err := p.interrupt(); err != nil {
		t.Error(err)
	}
	if err := p.await(ctx, "ended", has("ended")); err != nil {
		t.Error(err)
	}
	if err := p.await(ctx, "more", has("more")); err == nil || !strings.Contains(err.Error(), "wait for more: /bin/sh ended") {
		t.Errorf("got %v, want that the program ended", err)
	}
	if err := p.interrupt(); err != nil {
		t.Errorf("a second interrupt: got %v", err)
	}
}

func TestContextInterruptsProgram(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := newTestDemo(t, io.Discard)
	p, err := d.start(ctx, all, false, "/bin/sh", "-c", "trap 'echo in order; exit 0' INT; echo up; while :; do sleep 0.05; done")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.await(ctx, "up", func(lines []string) bool { return len(lines) > 0 }); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.interrupt(); err != nil {
		t.Errorf("got %v from a program that ended in order", err)
	}
	if got := p.output(); !slices.Contains(got, "in order") {
		t.Errorf("got %q, want that the program could end in order", got)
	}
}
