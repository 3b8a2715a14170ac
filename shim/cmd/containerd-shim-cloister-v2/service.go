package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/pkg/ttrpcutil"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloister-cc/cloister/shim/metrics"
	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/shim/sandbox"
	"github.com/cloister-cc/cloister/shim/task"
	"github.com/cloister-cc/cloister/shim/trace"
)

// sendTimeout bounds one attempt to give containerd an event.
const sendTimeout = 5 * time.Second

// registerService makes the serving process serve the pod.
func registerService() {
	registry.Register(&plugin.Registration{
		Type: plugins.TTRPCPlugin, ID: "otelttrpc",
		InitFn: func(*plugin.InitContext) (any, error) { return trace.Interceptors{}, nil },
	})
	registry.Register(&plugin.Registration{
		Type: plugins.TTRPCPlugin, ID: "task", Requires: []plugin.Type{plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			end, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			return newService(ic.Context, end.(shutdown.Service))
		},
	})
}

func newService(ctx context.Context, end shutdown.Service) (*task.Service, error) {
	quieten()
	config, err := node.Load("")
	if err != nil {
		return nil, err
	}
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	bundle, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	traced, err := trace.Setup(ctx, config.TraceEndpoint)
	if err != nil {
		return nil, err
	}
	publisher, err := newPublisher(namespace)
	if err != nil {
		return nil, err
	}
	pod := os.Getenv(sandboxEnv)
	served := task.Config{
		Namespace: namespace, Sandbox: pod, Bundle: bundle, Node: config,
		Rootfs: rootfs.Read, Send: publisher.send, Exit: end.Shutdown,
	}
	if config.MetricsDir != "" {
		served.Metrics = metrics.Path(config.MetricsDir, pod)
	}
	if err := task.WriteRecord(bundle, served.Record()); err != nil { // before the socket is made, for a later `delete`
		return nil, err
	}
	address, err := shim.ReadAddress(filepath.Join(bundle, addressFile)) // now: the bundle goes before its shim
	if err != nil {
		return nil, fmt.Errorf("address of the shim: %w", err)
	}
	watched := watch(ctx, served.Metrics)
	served.Boot = watched.boot
	service := task.New(ctx, served)
	end.RegisterCallback(func(ctx context.Context) error {
		err := errors.Join(service.Close(ctx), publisher.client.Close(), removeSocket(address))
		watched.end()
		return errors.Join(err, traced(ctx))
	})
	return service, nil
}

// removeSocket removes the shim's own socket, if `delete` has not yet.
func removeSocket(address string) error {
	if err := shim.RemoveSocket(address); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// publisher sends events to containerd's ttrpc socket.
type publisher struct {
	namespace string
	client    *ttrpcutil.Client
}

func newPublisher(namespace string) (*publisher, error) {
	client, err := ttrpcutil.NewClient(os.Getenv("TTRPC_ADDRESS"))
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return &publisher{namespace, client}, nil
}

// send makes one attempt. A connection that broke is made anew for the next one.
func (p *publisher) send(ctx context.Context, topic string, event task.Event) error {
	packed, err := typeurl.MarshalAny(event)
	if err != nil {
		log.G(ctx).WithError(err).WithField("topic", topic).Error("event cannot be told")
		return nil // nor ever will
	}
	service, err := p.client.EventsService()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err = service.Forward(ctx, &eventsapi.ForwardRequest{Envelope: &types.Envelope{
		Timestamp: timestamppb.Now(), Namespace: p.namespace, Topic: topic,
		Event: &anypb.Any{TypeUrl: packed.GetTypeUrl(), Value: packed.GetValue()},
	}})
	if errors.Is(err, ttrpc.ErrClosed) {
		return errors.Join(err, p.client.Reconnect())
	}
	return err
}

// watched starts pods that are counted and traced.
type watched struct {
	set    *metrics.Set
	cancel context.CancelFunc
	served chan struct{}
}

// watch serves the pod's metrics on a socket; without one nothing is counted.
func watch(ctx context.Context, socket string) *watched {
	w := &watched{cancel: func() {}, served: make(chan struct{})}
	if socket == "" {
		close(w.served)
		return w
	}
	w.set = metrics.New()
	ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(w.served)
		if err := w.set.Serve(ctx, socket); err != nil {
			log.G(ctx).WithError(err).Error("serve metrics")
		}
	}()
	return w
}

func (w *watched) end() {
	w.cancel()
	<-w.served
}

func (w *watched) boot(ctx context.Context, c sandbox.Config) (task.Pod, error) {
	if w.set != nil {
		c.Metrics = w.set
		c.Client = append(c.Client, w.set.ClientOption())
	}
	c.Client = append(c.Client, trace.ClientOptions()...)
	pod, err := sandbox.Start(ctx, c)
	if err != nil {
		return nil, err // and no pod: a nil *Pod in an interface is one
	}
	debug.FreeOSMemory() // of the boot
	return pod, nil
}

var _ shim.TTRPCService = (*task.Service)(nil)
