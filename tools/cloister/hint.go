package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	podrun "github.com/cloister-cc/cloister/shim/run"
)

// runHint says what to do about failures of a run that are the command line's to mend.
func runHint(err error, stateDir string) error {
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return &plainError{fmt.Sprintf("run: another run holds the state directory %q (stop that run, or choose another directory with --state-dir)", stateDir), err}
	case errors.Is(err, podrun.ErrNoSNP):
		return fmt.Errorf("%w (without SNP hardware, try --tee emulated, which protects nothing)", err)
	}
	return err
}

// readState finds a running pod for the commands that talk to one.
func readState(dir string) (*podrun.State, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no pod runs in %q (start it with \"cloister run\", and name the directory here if run was given --state-dir)", dir)
	}
	state, err := podrun.ReadState(dir)
	if err != nil {
		return nil, fmt.Errorf("%w (start the pod with \"cloister run\"; a pod that is still booting takes a moment)", err)
	}
	return state, nil
}

// execHint puts the agent's answer about a container that has ended, or takes no command now, in words for people.
func execHint(err error, pod, container string) error {
	var answer interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &answer) {
		return err
	}
	text := answer.GRPCStatus().Message()
	switch answer.GRPCStatus().Code() {
	case codes.FailedPrecondition, codes.NotFound, codes.InvalidArgument:
		// One code stands for several wrong moments; only the agent's words tell them apart.
		if strings.Contains(text, "is not running") {
			text = "it is not running (it has ended, or has not started yet)"
		}
		return &plainError{fmt.Sprintf("exec: container %q of pod %q: %s", container, pod, text), err}
	}
	return err
}

// plainError has a text of its own; the cause stays in the chain for programs.
type plainError struct {
	text  string
	cause error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.cause }
