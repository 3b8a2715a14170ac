package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/tests/bench/ask"
	"github.com/cloister-cc/cloister/tests/bench/wire"
	"github.com/cloister-cc/cloister/tests/cases"
)

// stormSize is how many equal requests of one container come at once, and stormConnections over how many connections.
const (
	stormSize        = 1000
	stormConnections = 30
)

// readyDevice is a report device whose answer is there already. gate holds it back, to let requests gather.
type readyDevice struct {
	answer snp.Evidence
	calls  atomic.Int64
	took   atomic.Int64 // nanoseconds, of the last call
	gate   chan struct{}
}

func (d *readyDevice) Report(context.Context, [64]byte) (snp.Evidence, error) {
	begin := time.Now()
	d.calls.Add(1)
	if d.gate != nil {
		<-d.gate
	}
	d.took.Store(int64(time.Since(begin)))
	return d.answer, nil
}

// measureEvidence measures what the broker adds to a call of the device: identity evidence, policy and event log included, asked for over the
// container's socket.
func (b *bench) measureEvidence(ctx context.Context, j *judged) error {
	device := &readyDevice{answer: snp.Evidence{Report: j.evidence.Report, Certs: j.evidence.Table}}
	for _, policy := range []struct {
		containers int
		metric     string
		target     target
	}{{podContainers, "snp_evidence_above_device_us", atMost(50)}, {containers, "snp_evidence_above_device_10_containers_us", target{}}} {
		above, err := b.aboveDevice(ctx, device, policy.containers)
		if err != nil {
			return err
		}
		b.add(policy.metric, above, "us", fmt.Sprintf("a device that answers at once; policy of %d containers", policy.containers), policy.target)
	}
	return b.measureStorm(ctx, j)
}

// podContainers are in the policy of an ordinary pod, such as the demo's. Evidence carries the policy's text.
const podContainers = 2

const warmUps = 200

// aboveDevice is what requests over one connection take, less what the device's call took, in microseconds.
func (b *bench) aboveDevice(ctx context.Context, device *readyDevice, containers int) (sample, error) {
	at, err := b.container(ctx, device, containers)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	c, err := at.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var above sample
	for i := range b.runs.evidence {
		begin := time.Now()
		if err := c.Ask(i); err != nil {
			return nil, err
		}
		if took := time.Since(begin) - time.Duration(device.took.Load()); i >= warmUps {
			above = append(above, float64(took)/float64(time.Microsecond))
		}
	}
	return above, nil
}

// measureStorm counts the calls of the device that equal requests of one container cost.
func (b *bench) measureStorm(ctx context.Context, j *judged) error {
	device := &readyDevice{answer: snp.Evidence{Report: j.evidence.Report, Certs: j.evidence.Table}, gate: make(chan struct{})}
	at, err := b.container(ctx, device, podContainers)
	if err != nil {
		return err
	}
	defer at.Close()
	group, ctx := errgroup.WithContext(ctx)
	for i := range stormConnections {
		group.Go(func() error {
			c, err := at.Dial(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for n := i; n < stormSize; n += stormConnections {
				if err := c.Ask(0); err != nil {
					return err
				}
			}
			return nil
		})
	}
	close(device.gate)
	if err := group.Wait(); err != nil {
		return err
	}
	b.add("snp_storm_device_calls", sample{float64(device.calls.Load())}, "calls", fmt.Sprintf("%d equal requests over %d connections", stormSize, stormConnections), atMost(1))
	return nil
}

func (b *bench) container(ctx context.Context, device *readyDevice, containers int) (*ask.Container, error) {
	policy, _ := cases.Sized(containers, false)
	dir, err := b.socketDir()
	if err != nil {
		return nil, err
	}
	return ask.Listen(ctx, device, policy, dir)
}

// measureGuestEvidence has a guest ask the software processor's device, once with one ioctl and once through the broker.
func (b *bench) measureGuestEvidence(ctx context.Context) (err error) {
	list, err := makeContainers()
	if err != nil {
		return err
	}
	s, inside, err := b.bootInside(ctx, list[:podContainers])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inside.close(), s.Stop(context.WithoutCancel(ctx))) }()
	answer, err := inside.ask(wire.Question{Op: wire.OpEvidence, Runs: b.runs.device})
	if err != nil {
		return err
	}
	var bare, evidence sample
	for _, r := range answer.Evidence {
		bare.addDuration(r.Ioctl)
		evidence.addDuration(r.Evidence)
	}
	b.addRatio("snp_evidence_in_guest_ratio", evidence, bare, "one SNP_GET_EXT_REPORT ioctl "+brief(bare.median()), atMost(1.1))
	return nil
}
