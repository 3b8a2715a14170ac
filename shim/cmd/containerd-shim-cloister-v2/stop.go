package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
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
	if err != nil {
		return status, err
	}
	if record == nil { // nothing was made for it but, perhaps, the shim's socket
		if pod, err := groupOf(filepath.Join(bundle, "config.json"), id); err == nil && pod == id {
			removeSockets(bundle, "")
		}
		return status, nil
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
	if id == record.Sandbox {
		removeSockets(bundle, record.Metrics)
	}
	return status, nil
}

// removeSockets removes the socket files that a shim which was killed left: its own, which the bundle names, and that of its metrics.
func removeSockets(bundle, metrics string) {
	paths := []string{metrics}
	if address, err := shim.ReadAddress(filepath.Join(bundle, addressFile)); err == nil {
		if path, ok := strings.CutPrefix(address, "unix://"); ok && filepath.IsAbs(path) {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if !abandoned(path) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(os.Stderr, "clean up: %s\n", err)
		}
	}
}

// abandoned tells whether a path is a socket that nobody listens on.
func abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
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
