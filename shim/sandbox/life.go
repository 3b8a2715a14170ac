package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
	"github.com/cloister-cc/cloister/shim/node"
)

const (
	// vmMoment is how long a VM whose channel has ended may take to show that it has ended too: that is the better reason.
	vmMoment = time.Second
	// stopTimeout bounds the end of a VM that is lost.
	stopTimeout = 30 * time.Second
	// oomPause lies between two out-of-memory events of one container at least: more of them say no more.
	oomPause = time.Second
	// oomMoment is how long the guest is not asked for the next event after one that says nothing, which it could tell without end.
	oomMoment = 50 * time.Millisecond
)

// call asks the agent one thing, with the node's limit of time, and ends with the pod's life. A call without an answer in time has the agent looked at.
func (p *Pod) call(ctx context.Context, what string, f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, p.requestTimeout())
	defer cancel()
	err := p.ask(limited, f)
	switch {
	case err == nil:
		return nil
	case !p.alive():
		return p.ended(what)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case late(limited, err):
		p.suspect()
		return fault(context.DeadlineExceeded, "%s: no answer of the agent within %v", what, p.requestTimeout())
	}
	return p.answer(what, err)
}

// within calls f with the node's limit of time and a context that ends with the pod's life.
func (p *Pod) within(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.requestTimeout())
	defer cancel()
	return p.ask(ctx, f)
}

// ask calls f with a context that ends with the pod's life. Where the channel ended first it waits for watch to say why.
func (p *Pod) ask(ctx context.Context, f func(context.Context) error) error {
	lived, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	err := f(lived)
	if err != nil && (errors.Is(err, ttrpc.ErrClosed) || p.channelEnded()) {
		<-lived.Done()
	}
	return err
}

// late tells whether an answer did not come in time: on this side's clock, or on the agent's, which is told the limit.
func late(ctx context.Context, err error) bool {
	return ctx.Err() != nil || status.Code(err) == codes.DeadlineExceeded
}

func (p *Pod) requestTimeout() time.Duration {
	if d := time.Duration(p.config.Node.RequestTimeout); d > 0 {
		return d
	}
	return time.Duration(node.Default().RequestTimeout)
}

// ended is the error of everything that is asked of a pod whose life is over.
func (p *Pod) ended(what string) error {
	return fault(errdefs.ErrUnavailable, "%s: %v", what, context.Cause(p.life))
}

// suspect has the agent looked at before the next turn of the health check.
func (p *Pod) suspect() {
	select {
	case p.ill <- struct{}{}:
	default:
	}
}

// watch follows the machine, the channel and the agent's health.
func (p *Pod) watch() {
	p.loops.Go(func() {
		select {
		case <-p.machine.Done():
			p.lose(vmEnded(p.machine.Err()))
		case <-p.client.Done():
			p.lose(p.whyCut())
		case <-p.life.Done():
		}
	})
	p.loops.Go(p.watchHealth)
}

func vmEnded(err error) error {
	if err == nil {
		return fmt.Errorf("%w: the guest powered off", boot.ErrVMEnded)
	}
	return fmt.Errorf("%w: %w", boot.ErrVMEnded, err)
}

// whyCut waits a moment for the end of the machine, which explains the end of the channel.
func (p *Pod) whyCut() error {
	moment := time.NewTimer(vmMoment)
	defer moment.Stop()
	select {
	case <-p.machine.Done():
		return vmEnded(p.machine.Err())
	case <-p.life.Done():
		return errStopped
	case <-moment.C:
		return errCut
	}
}

// watchHealth asks the agent regularly, and at once after a call without an answer, whether it serves. One that does not answer in time is lost.
func (p *Pod) watchHealth() {
	var turn <-chan time.Time
	if d := time.Duration(p.config.Node.HealthInterval); d > 0 {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		turn = ticker.C
	}
	for {
		select {
		case <-p.life.Done():
			return
		case <-turn:
		case <-p.ill:
		}
		ctx, cancel := context.WithTimeout(p.life, p.requestTimeout())
		err := p.ask(ctx, p.client.Check)
		if err != nil && late(ctx, err) {
			err = fmt.Errorf("%w within %v", errHung, p.requestTimeout())
		}
		cancel()
		if err != nil && (errors.Is(err, errHung) || !p.channelEnded()) {
			p.lose(err)
			return
		}
	}
}

// channelEnded tells whether watch is about to say why.
func (p *Pod) channelEnded() bool {
	select {
	case <-p.client.Done():
		return true
	default:
		return false
	}
}

// Lose ends the pod's VM for a reason of the caller's, which all that waits for the guest is told. Stop still has to be called.
func (p *Pod) Lose(why error) { p.lose(why) }

// lose ends the pod's life: all that waits for the guest is told why, and the VM is stopped. Control group, network and directory stay for Stop.
func (p *Pod) lose(why error) {
	p.end(why)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = p.machine.Stop(ctx) // Stop tries again
	if m := p.config.Metrics; m != nil {
		m.VM(0, 0, 0)
	}
}

// pause waits, and tells whether the pod lives after that.
func (p *Pod) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.life.Done():
		return false
	}
}

// listen hands out the guest's out-of-memory events until the pod's life ends.
func (p *Pod) listen(ctx context.Context) {
	p.loops.Go(func() {
		defer close(p.oom)
		for {
			event, err := p.client.GetOOMEvent(p.life, &api.GetOOMEventRequest{})
			if err != nil {
				if p.alive() {
					log.G(ctx).WithError(err).Warn("out-of-memory events are not told from here on")
				}
				return
			}
			ct, err := p.find(event.ContainerId)
			now := time.Now()
			if err != nil || now.Sub(ct.oomAt) < oomPause { // removed meanwhile, or a word of the guest's own; told just now
				if !p.pause(oomMoment) {
					return
				}
				continue
			}
			ct.oomAt = now
			select {
			case p.oom <- event.ContainerId:
			case <-p.life.Done():
				return
			}
		}
	})
}
