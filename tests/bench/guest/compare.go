package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/agent/storage"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// compare starts the measured container through the agent and the prepared one by the bare runtime, in turn; who goes first
// alternates. One round before the others is thrown away.
func (a *agent) compare(ctx context.Context, prepared, measured *api.CreateContainerRequest, runs int) ([]wire.Run, error) {
	spec, err := a.prepare(ctx, prepared)
	if err != nil {
		return nil, fmt.Errorf("prepare the bundle: %w", err)
	}
	bare, err := newBare(a.reaper, spec)
	if err != nil {
		return nil, err
	}
	out, err := a.rounds(ctx, bare, measured, runs)
	return out, errors.Join(err, a.sandbox.RemoveContainer(ctx, preparedID, 0))
}

func (a *agent) rounds(ctx context.Context, bare *bare, measured *api.CreateContainerRequest, runs int) ([]wire.Run, error) {
	var out []wire.Run
	for i := range runs + 1 {
		var r wire.Run
		ways := []func() error{
			func() (err error) { r.Agent, r.Steps, err = a.start(ctx, measured, i); return err },
			func() (err error) { r.Crun, err = bare.run(ctx, crunPath, fmt.Sprintf("run-%d", i)); return err },
			func() (err error) {
				r.Sealed, err = bare.run(ctx, bare.sealed, fmt.Sprintf("sealed-%d", i))
				return err
			},
			func() (err error) { r.Pair, err = bare.pair(ctx, i); return err },
		}
		if i%2 == 1 {
			ways[0], ways[1] = ways[1], ways[0]
		}
		for _, way := range ways {
			if err := way(); err != nil {
				return nil, fmt.Errorf("round %d: %w", i, err)
			}
		}
		if i > 0 {
			out = append(out, r)
		}
	}
	return out, nil
}

// decode is what the service does with a decoded message before the sandbox gets it.
func decode(m *api.CreateContainerRequest, id string) (sandbox.CreateRequest, error) {
	oci, err := container.Parse(m.OCI)
	if err != nil {
		return sandbox.CreateRequest{}, err
	}
	r := sandbox.CreateRequest{ID: id, OCI: oci}
	// The message has the layers from the base up, then the overlay; the sandbox wants them from the top down.
	for i := len(m.Storages) - 2; i >= 0; i-- {
		address, err := storage.ParseAddress(m.Storages[i].Driver, m.Storages[i].Source)
		if err != nil {
			return sandbox.CreateRequest{}, err
		}
		r.Layers = append(r.Layers, address)
	}
	return r, nil
}

// start is one container through the agent, from the decoded request to the first byte, and its removal.
func (a *agent) start(ctx context.Context, m *api.CreateContainerRequest, round int) (time.Duration, []wire.Step, error) {
	id := fmt.Sprintf("measured-%d", round)
	a.clock.start()
	begin := time.Now()
	r, err := decode(m, id)
	if err != nil {
		return 0, nil, err
	}
	if err := a.sandbox.CreateContainer(ctx, r); err != nil {
		return 0, nil, err
	}
	a.clock.mark("agent")
	type first struct {
		at  time.Time
		err error
	}
	firsts := make(chan first, 1)
	go func() {
		b, err := a.sandbox.Read(ctx, id, "", false, 1)
		if err == nil && len(b) == 0 {
			err = errors.New("the container ended without a word")
		}
		a.clock.mark("start, to the first byte")
		firsts <- first{time.Now(), err}
	}()
	if err := a.sandbox.StartContainer(ctx, id); err != nil {
		return 0, nil, err
	}
	f := <-firsts
	steps := a.clock.stop()
	if f.err != nil {
		return 0, nil, f.err
	}
	if _, err := a.sandbox.Wait(ctx, id, ""); err != nil {
		return 0, nil, err
	}
	return f.at.Sub(begin), steps, a.sandbox.RemoveContainer(ctx, id, 0)
}
