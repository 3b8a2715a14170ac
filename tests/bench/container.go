package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/tests/bench/wire"
)

// measureContainer measures container starts and disks plugged in, in one VM.
func measureContainer(ctx context.Context, b *bench) (err error) {
	list, err := makeContainers()
	if err != nil {
		return err
	}
	s, inside, err := b.bootInside(ctx, list)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.close(), s.Stop(context.WithoutCancel(ctx))) }()
	if err := b.measureStart(ctx, s, inside, list[0]); err != nil {
		return err
	}
	return b.measurePlug(ctx, s, inside)
}

// inside is the guest's end of the measurement.
type inside struct {
	in    *json.Decoder
	out   *json.Encoder
	close func() error
}

func dialInside(ctx context.Context, s *podrun.Sandbox) (*inside, error) {
	conn, err := s.VM().Dial(ctx, wire.Port)
	if err != nil {
		return nil, err
	}
	return &inside{in: json.NewDecoder(conn), out: json.NewEncoder(conn), close: conn.Close}, nil
}

// bootInside boots a guest that can be asked from inside, under a policy of these containers.
func (b *bench) bootInside(ctx context.Context, list []*pod.Container) (*podrun.Sandbox, *inside, error) {
	policy, err := b.policy(ctx, list)
	if err != nil {
		return nil, nil, err
	}
	image, err := b.image(ctx, true, guestPackage)
	if err != nil {
		return nil, nil, err
	}
	s, err := b.boot(ctx, image, policy)
	if err != nil {
		return nil, nil, err
	}
	inside, err := dialInside(ctx, s)
	if err != nil {
		return nil, nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, inside, nil
}

func (i *inside) ask(q wire.Question) (wire.Answer, error) {
	var a wire.Answer
	if err := i.out.Encode(q); err != nil {
		return a, err
	}
	if err := i.in.Decode(&a); err != nil {
		return a, fmt.Errorf("the guest did not answer: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("in the guest: %s", a.Error)
	}
	return a, nil
}

func (b *bench) measureStart(ctx context.Context, s *podrun.Sandbox, inside *inside, c *pod.Container) error {
	converted, err := podrun.Convert(ctx, b.layerCache(), []*pod.Container{c})
	if err != nil {
		return err
	}
	measured := converted[0]
	prepared, err := b.twin(measured)
	if err != nil {
		return err
	}
	q := wire.Question{Op: wire.OpStart, Runs: b.runs.container}
	for _, one := range []struct {
		c  *podrun.Container
		to *[]byte
	}{{prepared, &q.Prepared}, {measured, &q.Measured}} {
		request, err := s.Prepare(ctx, one.c)
		if err != nil {
			return err
		}
		if *one.to, err = encode(request); err != nil {
			return err
		}
	}
	answer, err := inside.ask(q)
	if err != nil {
		return err
	}
	b.reportStart(answer.Runs)
	return nil
}

func encode(r *api.CreateContainerRequest) ([]byte, error) { return proto.Marshal(r) }

// twin is the same container on disks of its own: equal bytes under other names.
func (b *bench) twin(c *podrun.Container) (*podrun.Container, error) {
	dir, err := os.MkdirTemp(b.scratch, "twin-")
	if err != nil {
		return nil, err
	}
	out := &podrun.Container{Container: c.Container}
	for i, d := range c.Disks {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Link(d.Path, path); err != nil {
			return nil, err
		}
		out.Disks = append(out.Disks, podrun.Layer{Path: path, Root: d.Root})
	}
	return out, nil
}

func (b *bench) reportStart(runs []wire.Run) {
	var agent, crun, sealed, pair sample
	steps := map[string]*sample{}
	var order []string
	for _, r := range runs {
		agent.addDuration(r.Agent)
		crun.addDuration(r.Crun)
		sealed.addDuration(r.Sealed)
		pair.addDuration(r.Pair)
		sums := map[string]time.Duration{}
		for _, s := range r.Steps {
			if steps[s.Name] == nil {
				steps[s.Name] = &sample{}
				order = append(order, s.Name)
			}
			sums[s.Name] += s.Took
		}
		for name, sum := range sums {
			steps[name].addDuration(sum)
		}
	}
	bare := "crun run " + brief(crun.median())
	b.addRatio("container_start_ratio", agent, crun, bare, atMost(1.5))
	b.add("container_start_ms", agent, "ms", bare, target{})
	b.addRatio("container_start_to_sealed_ratio", agent, sealed, "crun run from sealed memory "+brief(sealed.median()), target{})
	b.addRatio("crun_create_start_ratio", pair, crun, bare, target{})
	progress("container start, median of %d; sums over %d layers:", len(runs), layersEach)
	for _, name := range order {
		progress("  %-40s %8.2f ms  %4.0f %%", name, steps[name].median(), 100*steps[name].median()/agent.median())
	}
}

// measurePlug plugs a disk in and waits until the guest can open it.
func (b *bench) measurePlug(ctx context.Context, s *podrun.Sandbox, inside *inside) error {
	l, err := makeLayer(file{"data", 0o644, []byte("plugged")})
	if err != nil {
		return err
	}
	path, _, err := b.layerCache().Get(ctx, l.DiffID, l.Open)
	if err != nil {
		return err
	}
	var call, present sample
	for range b.runs.plug {
		begin := time.Now()
		address, err := s.VM().Plug(ctx, vm.Disk{Path: path, ReadOnly: true})
		if err != nil {
			return err
		}
		call.addDuration(time.Since(begin))
		if _, err := inside.ask(wire.Question{Op: wire.OpAwait, Disk: address.String()}); err != nil {
			return err
		}
		present.addDuration(time.Since(begin))
		if err := s.VM().Unplug(ctx, address); err != nil {
			return err
		}
	}
	qmp := "QMP calls alone " + brief(call.median())
	b.add("hotplug_ms", present, "ms", qmp, target{})
	b.addRatio("hotplug_ratio", present, call, qmp, target{})
	return nil
}
