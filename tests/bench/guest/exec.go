package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// reference measures what the bare runtime needs for what a pod does: create and start to the first byte, and exec into a container that runs.
func (a *agent) reference(ctx context.Context, prepared *api.CreateContainerRequest, runs int) (_ []wire.Reference, err error) {
	spec, err := a.prepare(ctx, prepared)
	if err != nil {
		return nil, fmt.Errorf("prepare the bundle: %w", err)
	}
	defer func() { err = errors.Join(err, a.sandbox.RemoveContainer(ctx, preparedID, 0)) }()
	b, err := newBare(a.reaper, spec)
	if err != nil {
		return nil, err
	}
	stays, end, err := b.stay(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var out []wire.Reference
	for i := range runs + 1 {
		var r wire.Reference
		if r.Start, err = b.pair(ctx, i); err != nil {
			return nil, err
		}
		if r.Exec, err = b.exec(ctx, stays); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out[1:], nil
}

// stay runs the prepared bundle with a program that does not end.
func (b *bare) stay(ctx context.Context) (id string, end func() error, err error) {
	bundle := filepath.Join(b.dir, "stays")
	if err := os.MkdirAll(bundle, 0o700); err != nil {
		return "", nil, err
	}
	spec, process, linux := b.spec, *b.spec.Process, *b.spec.Linux
	process.Args, linux.CgroupsPath = []string{"/bin/stay"}, "/stays"
	spec.Process, spec.Linux = &process, &linux
	text, err := json.Marshal(&spec)
	if err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		return "", nil, err
	}
	const stays = "stays"
	pid := filepath.Join(b.dir, "stays-pid")
	// In two steps: `run --detach` is done before the process is this one's child.
	if err := b.do(ctx, b.command(ctx, crunPath, "create", "--no-new-keyring", "--pid-file", pid, "--bundle", bundle, stays)); err != nil {
		return "", nil, err
	}
	init, err := b.adopt(pid)
	if err != nil {
		return "", nil, err
	}
	if err := b.do(ctx, b.command(ctx, crunPath, "start", stays)); err != nil {
		return "", nil, err
	}
	return stays, func() error {
		if err := b.do(ctx, b.command(ctx, crunPath, "kill", stays, "KILL")); err != nil {
			return err
		}
		if _, err := init.Wait(ctx); err != nil {
			return err
		}
		return b.do(ctx, b.command(ctx, crunPath, "delete", "--force", stays))
	}, nil
}

// exec is `crun exec` to its end, as a probe waits for it.
func (b *bare) exec(ctx context.Context, id string) (time.Duration, error) {
	o, err := newOutput()
	if err != nil {
		return 0, err
	}
	defer o.close()
	begin := time.Now()
	cmd := b.command(ctx, crunPath, "exec", id, "/bin/first-byte")
	cmd.Stdout = o.w
	child, err := b.reaper.Start(cmd)
	if err != nil {
		return 0, err
	}
	o.w.Close()
	_, err = o.first()
	err = errors.Join(err, b.finish(ctx, child))
	return time.Since(begin), err
}

// stream writes zeros to the port that the question came by: what a container's output can be at most.
func stream(conn net.Conn, size int64) error {
	block := make([]byte, 32<<10)
	for left := size; left > 0; {
		n, err := conn.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
