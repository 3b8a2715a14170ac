package snapshotter

import (
	"context"
	"errors"
	"net"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/cloister-cc/cloister/shim/snapshotter/api"
	"github.com/cloister-cc/cloister/verity/layer"
)

// maxMessage bounds a request, in bytes, as containerd's own server does.
const maxMessage = 16 << 20

// Serve answers containerd (gRPC) and shims (ttrpc, which costs them less memory) on one listener until the context ends; calls under way are then
// cancelled and waited for, and containerd asks again when the next process listens.
func Serve(ctx context.Context, l net.Listener, s *Snapshotter) error {
	forGRPC, forTTRPC := newBranch(l.Addr()), newBranch(l.Addr())
	g := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	snapshotsapi.RegisterSnapshotsServer(g, snapshotservice.FromSnapshotter(s))
	diffapi.RegisterDiffServer(g, diffservice.FromApplierAndComparer(s, s))
	t, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	api.RegisterLayersService(t, layersService{s})

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return split(ctx, l, forGRPC, forTTRPC) })
	group.Go(func() error { return g.Serve(forGRPC) })
	group.Go(func() error { return t.Serve(ctx, forTTRPC) })
	group.Go(func() error {
		<-ctx.Done()
		err := l.Close()
		g.Stop() // not gracefully: a conversion may take minutes, and ends with its context
		return errors.Join(err, t.Close())
	})
	err = group.Wait()
	for _, closed := range []error{net.ErrClosed, ttrpc.ErrServerClosed, grpc.ErrServerStopped} {
		if errors.Is(err, closed) {
			return nil
		}
	}
	return err
}

// layersService is the service of layers.proto.
type layersService struct{ s *Snapshotter }

func (l layersService) Disk(ctx context.Context, req *api.DiskRequest) (*api.DiskResponse, error) {
	d, err := l.s.Disk(ctx, req.GetDiffId(), layer.Format(req.GetFormat()))
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.DiskResponse{Path: d.Path, Root: d.Root}, nil
}
