package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/log"

	"github.com/cloister-cc/cloister/agent/api"
)

const (
	// farewellTimeout bounds what an agent can hold up when its pod is stopped; the VM is stopped in any case.
	farewellTimeout = 30 * time.Second
	// pulseTimeout is how long an agent may take to show that a farewell to it makes sense.
	pulseTimeout = 5 * time.Second
)

// Stop takes the pod down: its containers, as far as its agent still answers, its VM, and all it had of the host. It goes on after an error and ends in bounded
// time, whatever the guest does. It may be called again, and then tries what failed.
func (p *Pod) Stop(ctx context.Context) error {
	p.stopMu.Lock()
	defer p.stopMu.Unlock()
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.shut()
	p.ops.Wait() // each ends with p.open, after it has undone what it had begun
	if p.alive() {
		p.farewell(ctx)
	}
	p.end(errStopped)
	p.loops.Wait()
	err := p.takeDown(ctx)
	if m := p.config.Metrics; m != nil {
		m.Containers(0)
		m.VM(0, 0, 0)
	}
	if err != nil {
		return lineError{fmt.Errorf("stop pod %q: %w", p.config.ID, err)}
	}
	return nil
}

// farewell removes the containers, the last one first, and the sandbox from a guest that still answers.
func (p *Pod) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	pulse, stop := context.WithTimeout(ctx, min(pulseTimeout, p.requestTimeout()))
	err := p.ask(pulse, p.client.Check)
	stop()
	if err != nil {
		log.G(ctx).WithError(err).Warn("stop pod: its agent does not answer")
		return
	}
	p.mu.Lock()
	left := make([]*container, 0, len(p.containers))
	for _, c := range p.containers {
		left = append(left, c)
	}
	p.mu.Unlock()
	slices.SortFunc(left, func(a, b *container) int { return cmp.Compare(b.order, a.order) })
	for _, c := range left {
		if err := p.remove(ctx, c); err != nil {
			log.G(ctx).WithError(err).WithField("container_id", c.id).Warn("stop pod: a container goes with its VM")
		}
	}
	err = p.call(ctx, "destroy sandbox", func(ctx context.Context) error {
		_, err := p.client.DestroySandbox(ctx, &api.DestroySandboxRequest{})
		return err
	})
	if err != nil {
		log.G(ctx).WithError(err).Warn("stop pod: the sandbox goes with its VM")
	}
}
