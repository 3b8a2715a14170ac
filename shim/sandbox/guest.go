package sandbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/spec"
)

// setPolicy hands the policy to the agent, which compares its hash with HOST_DATA.
func (p *Pod) setPolicy(ctx context.Context, policy []byte) error {
	return p.call(ctx, "set policy", func(ctx context.Context) error {
		_, err := p.client.SetPolicy(ctx, &api.SetPolicyRequest{Policy: string(policy)})
		return err
	})
}

// configureNetwork gives the guest its interfaces, routes and neighbours, in the order in which Kata's shims do.
func (p *Pod) configureNetwork(ctx context.Context, links joined) error {
	guest := links.Guest()
	for _, i := range guest.Interfaces {
		err := p.call(ctx, "configure interface "+i.Name, func(ctx context.Context) error {
			_, err := p.client.UpdateInterface(ctx, &api.UpdateInterfaceRequest{Interface: i})
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(guest.Routes) > 0 {
		err := p.call(ctx, "configure routes", func(ctx context.Context) error {
			_, err := p.client.UpdateRoutes(ctx, &api.UpdateRoutesRequest{Routes: &api.Routes{Routes: guest.Routes}})
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(guest.Neighbors) == 0 {
		return nil
	}
	return p.call(ctx, "configure neighbours", func(ctx context.Context) error {
		_, err := p.client.AddARPNeighbors(ctx, &api.AddARPNeighborsRequest{Neighbors: &api.ARPNeighbors{ARPNeighbors: guest.Neighbors}})
		return err
	})
}

// createSandbox makes the pod in the guest and asks who the agent is.
func (p *Pod) createSandbox(ctx context.Context) error {
	request, notes, err := spec.Sandbox(p.guest, p.config.Spec)
	if err != nil {
		return fault(errdefs.ErrInvalidArgument, "the pod's specification: %v", err)
	}
	p.note(ctx, notes...)
	if spec.IsSandbox(p.config.Spec) {
		if p.sysctl, err = spec.PodSysctl(p.config.Spec); err != nil {
			return fault(errdefs.ErrInvalidArgument, "the pod's specification: %v", err)
		}
	}
	err = p.call(ctx, "create sandbox", func(ctx context.Context) error {
		_, err := p.client.CreateSandbox(ctx, request)
		return err
	})
	if err != nil {
		return err
	}
	return p.call(ctx, "get guest details", func(ctx context.Context) error {
		details, err := p.client.GetGuestDetails(ctx, &api.GuestDetailsRequest{MemBlockSize: true, MemHotplugProbe: true})
		if err == nil {
			log.G(ctx).WithField("agent_version", cut(details.GetAgentDetails().GetVersion())).Debug("the agent has a pod")
		}
		return err
	})
}

// consoleTail is how much of the console is logged when a boot fails, in bytes.
const consoleTail = 2 << 10

// logConsole logs the last lines of a console: the only thing a guest that does not answer has said.
func logConsole(ctx context.Context, path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-consoleTail), io.SeekStart)
	}
	text, err := io.ReadAll(io.LimitReader(f, consoleTail))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		log.G(ctx).WithField("console", cut(strings.TrimSpace(line))).Warn("the guest's last words")
	}
}

// progress is a writer of whole lines that are logged.
type progress struct{ ctx context.Context }

func (w progress) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		log.G(w.ctx).WithField("progress", cut(string(bytes.TrimSpace(line)))).Info("boot")
	}
	return len(b), nil
}
