package rpc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/enforcer"
)

// maxDiagnostic bounds an answer of GetDiagnosticData, in bytes.
const maxDiagnostic = 1 << 20

// StatsContainer returns a container's counters.
func (s *Service) StatsContainer(ctx context.Context, r *api.StatsContainerRequest) (*api.StatsContainerResponse, error) {
	if err := s.ask(ctx, "StatsContainerRequest", enforcer.GetPropertiesInput{}); err != nil {
		return nil, err
	}
	g, err := s.cfg.Sandbox.Group(r.ContainerId)
	if err != nil {
		return nil, err
	}
	out := &api.StatsContainerResponse{CgroupStats: &api.CgroupStats{}}
	if out.NetworkStats, err = s.cfg.Network.Stats(ctx); err != nil {
		return nil, status.Error(codes.Internal, "the network's counters cannot be read")
	}
	if g == nil {
		return out, nil
	}
	if out.CgroupStats, err = g.Stats(); err != nil {
		return nil, status.Error(codes.Internal, "the container's counters cannot be read")
	}
	return out, nil
}

// GetMetrics returns the agent's own metrics in Prometheus' text form.
func (s *Service) GetMetrics(ctx context.Context, _ *api.GetMetricsRequest) (*api.Metrics, error) {
	if err := s.ask(ctx, "GetMetricsRequest", enforcer.GetPropertiesInput{}); err != nil {
		return nil, err
	}
	text, err := s.cfg.Metrics.text()
	if err != nil {
		return nil, status.Error(codes.Internal, "the metrics cannot be read")
	}
	return &api.Metrics{Metrics: text}, nil
}

// GetVolumeStats knows no volumes: no path of the guest is the host's to name.
func (s *Service) GetVolumeStats(ctx context.Context, _ *api.VolumeStatsRequest) (*api.VolumeStatsResponse, error) {
	if err := s.ask(ctx, "VolumeStatsRequest", enforcer.GetPropertiesInput{}); err != nil {
		return nil, err
	}
	return nil, status.Error(codes.NotFound, "volume_guest_path: is not a volume of this guest")
}

// GetDiagnosticData returns the log, the stacks of the agent, or what it holds.
func (s *Service) GetDiagnosticData(ctx context.Context, r *api.GetDiagnosticDataRequest) (*api.GetDiagnosticDataResponse, error) {
	const message = "GetDiagnosticDataRequest"
	var data []byte
	var err error
	switch r.LogType {
	case "log":
		if err := s.ask(ctx, message, enforcer.RuntimeLoggingInput{}); err != nil {
			return nil, err
		}
		data = s.cfg.Journal.Tail(maxDiagnostic)
	case "stacks":
		if err := s.ask(ctx, message, enforcer.DumpStacksInput{}); err != nil {
			return nil, err
		}
		data, err = stacks()
	case "held":
		if err := s.ask(ctx, message, enforcer.DumpStacksInput{}); err != nil {
			return nil, err
		}
		data, err = s.held()
	default:
		return nil, bad("log_type: got %.32q, want log, stacks or held", r.LogType)
	}
	if err != nil {
		return nil, status.Error(codes.Internal, "the data cannot be read")
	}
	return &api.GetDiagnosticDataResponse{Data: string(data)}, nil
}

func stacks() ([]byte, error) {
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 2); err != nil {
		return nil, err
	}
	return b.Bytes()[:min(b.Len(), maxDiagnostic)], nil
}

// held counts what a leak would show: containers, devices and mounts of the sandbox, goroutines, file descriptors and mounts of
// the agent, device-mapper devices of the guest.
func (s *Service) held() ([]byte, error) {
	debug.FreeOSMemory() // garbage is no leak: what is counted is what the agent holds at rest
	c := s.cfg.Sandbox.Held()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	dm, _ := os.ReadDir("/sys/class/block")
	mapped := 0
	for _, d := range dm {
		if len(d.Name()) > 3 && d.Name()[:3] == "dm-" {
			mapped++
		}
	}
	return fmt.Appendf(nil, `{"containers":%d,"devices":%d,"container_mounts":%d,"goroutines":%d,"fds":%d,"mounts":%d,"dm":%d,"rss_kib":%d}`,
		c.Containers, c.Devices, c.Mounts, runtime.NumGoroutine(), len(fds), bytes.Count(mounts, []byte("\n")), mapped, residentKiB()), nil
}

// residentKiB is the agent's resident memory, from /proc/self/status; 0 when it cannot be read.
func residentKiB() int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var n int
	if _, rest, found := bytes.Cut(text, []byte("VmRSS:")); found {
		_, _ = fmt.Sscan(string(rest), &n)
	}
	return n
}
