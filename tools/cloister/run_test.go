package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
)

func TestParseForwards(t *testing.T) {
	got, err := parseForwards([]string{"8080:80", "0.0.0.0:443:8443"})
	want := []vm.PortForward{{HostPort: 8080, GuestPort: 80}, {HostIP: "0.0.0.0", HostPort: 443, GuestPort: 8443}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, text := range []string{"", "80", "0:80", "80:65536", "a:80", "::1:80:80", "host:80:80", "1.2.3.4:80", "1.2.3.4:5:80:1", "-1:80"} {
		if got, err := parseForwards([]string{text}); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestExplainRefusal(t *testing.T) {
	denied := status.Error(codes.PermissionDenied, "ExecProcessRequest is blocked by policy: exec_in_container: invalid command: args\npolicyDecision<x>policyDecision")
	err := explain(context.Background(), denied)
	text := err.Error()
	if !strings.Contains(text, "invalid command") || !strings.Contains(text, "io.cloister.exec/") || strings.Contains(text, "policyDecision") {
		t.Errorf("got %q", text)
	}
	if !errors.Is(err, denied) {
		t.Error("the cause is lost")
	}
	other := errors.New("other")
	if got := explain(context.Background(), other); got != other {
		t.Errorf("got %v, want the error itself", got)
	}
}

func TestExplainInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	if err := explain(ctx, context.Canceled); err == nil {
		t.Error("cancelled by somebody else: got nil, want an error")
	}
	cancel()
	if err := explain(ctx, context.Canceled); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestFailedContainers(t *testing.T) {
	if err := failedContainers(podrun.Result{Exit: map[string]int{"a": 0}}); err != nil {
		t.Error(err)
	}
	err := failedContainers(podrun.Result{Exit: map[string]int{"b": 3, "a": 0}})
	if err == nil || !strings.Contains(err.Error(), "a 0, b 3") {
		t.Errorf("got %v, want both containers", err)
	}
}

func TestUIHasNoColourOutsideTerminals(t *testing.T) {
	var out bytes.Buffer
	u := newUI(&out)
	u.warn("a %d", 1)
	u.stage(podrun.Stage{Name: "boot"})
	u.Write([]byte("x\ny\n"))
	if got := out.String(); strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 4 {
		t.Errorf("got %q", got)
	}
}

func TestRunAndExecUsage(t *testing.T) {
	for _, args := range [][]string{
		{"run"},
		{"run", "a", "b"},
		{"run", "x.yaml", "--tee", "auto"},
		{"run", "x.yaml", "-p", "x"},
		{"run", "x.yaml", "--cpus", "0"},
		{"run", "x.yaml", "--cpus", "65"},
		{"run", "x.yaml", "--memory", "3"},
		{"polcy"},
		{"policy", "genrate"},
		{"dev", "tee", "x"},
		{"version", "x"},
		{"exec", "pod", "container", "ls", "-l"},
		{"exec"},
		{"exec", "pod", "container"},
		{"exec", "../x", "c", "--", "ls"},
	} {
		if got := run(context.Background(), args); got != exitUsage {
			t.Errorf("%q: exit code got %d, want %d", args, got, exitUsage)
		}
	}
	if got := run(context.Background(), []string{"exec", "--state-dir", t.TempDir(), "pod", "c", "--", "ls"}); got != exitFailed {
		t.Errorf("exec without a pod: exit code got %d, want %d", got, exitFailed)
	}
}
