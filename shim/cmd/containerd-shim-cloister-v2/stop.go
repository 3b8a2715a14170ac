package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/task"
)

const (
	// cleanupTimeout is less than the five seconds that containerd gives `delete`.
	cleanupTimeout = 4 * time.Second
	// retryPause lies between two looks at whether the pod's shim has ended.
	retryPause = 50 * time.Millisecond
)

// Stop is `delete`: what a shim that is gone left of a container, and of the pod if that was its own, is cleaned up. containerd calls it for every container
// that it deletes, also while the pod and its shim live.
func (manager) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	status := shim.StopStatus{ExitedAt: time.Now(), ExitStatus: 128 + int(unix.SIGKILL)}
	bundle, err := os.Getwd()
	if err != nil {
		return status, err
	}
	if opts, ok := ctx.Value(shim.OptsKey{}).(shim.Opts); ok && opts.BundlePath != "" {
		bundle = opts.BundlePath
	}
	record, err := task.ReadRecord(bundle)
	if err != nil || record == nil {
		return status, err // nothing was made for it
	}
	status.Pid = record.PID
	if record.Exit != nil {
		status.ExitStatus, status.ExitedAt = int(record.Exit.Status), record.Exit.At
	}
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	if err := cleanUp(ctx, record.Dir, id == record.Sandbox); err != nil {
		fmt.Fprintf(os.Stderr, "clean up pod %q: %s\n", record.Sandbox, err) // containerd logs it
	}
	return status, nil
}

// cleanUp cleans up after the pod's shim if that is gone. For the pod's own container it waits for its end: it was told to go.
func cleanUp(ctx context.Context, dir string, own bool) error {
	for {
		err := sandbox.Cleanup(ctx, dir)
		if !errdefs.IsFailedPrecondition(err) {
			return err
		}
		if !own {
			return nil // the shim lives, and other containers with it
		}
		again := time.NewTimer(retryPause)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return err
		}
	}
}

// Info tells what the runtime is. Options that it would refuse are an error.
func (manager) Info(_ context.Context, options io.Reader) (*types.RuntimeInfo, error) {
	info := &types.RuntimeInfo{Name: runtimeName, Version: &types.RuntimeVersion{Version: version()}}
	given, err := shim.ReadRuntimeOptions[*runtimeoptions.Options](options)
	if errors.Is(err, errdefs.ErrNotFound) {
		return info, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runtime options: %w", err)
	}
	switch {
	case given.GetConfigPath() != "":
		_, err = node.Load(given.GetConfigPath())
	case len(given.GetConfigBody()) > 0:
		_, err = node.Parse(given.GetConfigBody())
	}
	if err != nil {
		return nil, err
	}
	info.Options, err = anypb.New(given)
	return info, err
}
