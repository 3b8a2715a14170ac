package metrics

import (
	"context"
	"os"
	"path"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Set is the numbers of one shim, which has one pod. Its methods may be called from any goroutine.
type Set struct {
	registry   *prometheus.Registry
	boot       prometheus.Gauge
	containers prometheus.Gauge
	vcpus      prometheus.Gauge
	memory     prometheus.Gauge
	requests   *prometheus.HistogramVec
	refusals   *prometheus.CounterVec
	vm         atomic.Int64 // process id of the VM, 0 before there is one
}

// New makes the set of a shim that has not booted anything yet.
func New() *Set {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	s := &Set{
		registry:   prometheus.NewRegistry(),
		boot:       gauge("cloister_shim_boot_seconds", "Time from the start of the VM to the agent's first answer."),
		containers: gauge("cloister_shim_containers", "Containers of the pod, the sandbox's own included."),
		vcpus:      gauge("cloister_shim_vm_vcpus", "Processors the VM has."),
		memory:     gauge("cloister_shim_vm_memory_bytes", "Memory the VM has."),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cloister_shim_agent_request_duration_seconds", Help: "Time of calls to the agent by method and status code; waits and streams are not counted.",
			Buckets: []float64{.001, .01, .1, 1, 10},
		}, []string{"rpc", "code"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cloister_shim_refusals_total", Help: "Requests that the pod's policy refused, by enforcement point.",
		}, []string{"point"}),
	}
	s.registry.MustRegister(s.boot, s.containers, s.vcpus, s.memory, s.requests, s.refusals)
	s.resident("cloister_shim_resident_memory_bytes", "Resident memory of the shim.", os.Getpid)
	s.resident("cloister_shim_vm_resident_memory_bytes", "Resident memory of the VM's process; 0 when there is none.",
		func() int { return int(s.vm.Load()) })
	return s
}

func (s *Set) resident(name, help string, pid func() int) {
	s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		return float64(residentBytes(pid()))
	}))
}

// Boot says how long the pod's VM took to the agent's first answer.
func (s *Set) Boot(took time.Duration) { s.boot.Set(took.Seconds()) }

// Containers says how many containers the pod has now, its sandbox included.
func (s *Set) Containers(n int) { s.containers.Set(float64(n)) }

// VM says which process the VM is and how large it is now; pid 0 means that it has ended.
func (s *Set) VM(pid, vcpus, memoryMiB int) {
	s.vm.Store(int64(pid))
	s.vcpus.Set(float64(vcpus))
	s.memory.Set(float64(memoryMiB) * (1 << 20))
}

// Request counts one call to the agent. Method is the call's name, with or without its service before a slash.
func (s *Set) Request(method string, code codes.Code, took time.Duration) {
	s.requests.WithLabelValues(word(path.Base(method)), codeName(code)).Observe(took.Seconds())
}

// Refusal counts one request that the policy refused at an enforcement point. The agent names the point, and the agent's word is a guest's: one that is not of the
// policy contract counts as "other".
func (s *Set) Refusal(point string) {
	if !points[point] {
		point = other
	}
	s.refusals.WithLabelValues(point).Inc()
}

// other is the label of what is none of a closed set: a guest that answers with ever new words must not make ever new series.
const other = "other"

// points are the enforcement points of the policy contract, section 2.2. The enforcer itself is no part of a shim.
var points = map[string]bool{
	"mount_device": true, "rw_mount_device": true, "mount_blockdev": true, "mount_overlay": true, "mount_cims": true, "registry_changes": true,
	"create_container": true, "unmount_device": true, "rw_unmount_device": true, "unmount_blockdev": true, "unmount_overlay": true,
	"exec_in_container": true, "exec_external": true, "shutdown_container": true, "signal_container_process": true, "plan9_mount": true,
	"plan9_unmount": true, "get_properties": true, "dump_stacks": true, "runtime_logging": true, "load_fragment": true, "scratch_mount": true,
	"scratch_unmount": true, "log_provider": true, "load_transparency_trust_list": true, "host_network": true,
}

// codeName is the name of a status code that gRPC has.
func codeName(c codes.Code) string {
	if c > codes.Unauthenticated { // the last
		return other
	}
	return c.String()
}

// streams are the calls that last as long as a process does: their time says nothing.
var streams = map[string]bool{"WaitProcess": true, "ReadStdout": true, "ReadStderr": true, "WriteStdin": true, "GetOOMEvent": true}

// ClientOption makes a ttrpc client count its calls, waits and streams excepted.
func (s *Set) ClientOption() ttrpc.ClientOpts {
	return ttrpc.WithChainUnaryClientInterceptor(
		func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, info *ttrpc.UnaryClientInfo, call ttrpc.Invoker) error {
			start := time.Now()
			err := call(ctx, req, resp)
			if !streams[path.Base(info.FullMethod)] {
				s.Request(info.FullMethod, code(ctx, resp, err), time.Since(start))
			}
			return err
		})
}

// code is an answer's status, which ttrpc makes an error only after its interceptors. A call that was given up on this side has none of its own.
func code(ctx context.Context, resp *ttrpc.Response, err error) codes.Code {
	switch {
	case err != nil && ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Code()
	case err != nil:
		return status.Code(err)
	}
	return codes.Code(resp.GetStatus().GetCode())
}

// word lets a label through that is a name of ours: letters and underscores, at most 40.
func word(s string) string {
	for _, c := range []byte(s) {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return other
		}
	}
	if s == "" || len(s) > 40 {
		return other
	}
	return s
}

// Families gives the numbers as they are now.
func (s *Set) Families() ([]*dto.MetricFamily, error) { return s.registry.Gather() }
