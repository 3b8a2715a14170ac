package rootfs

import (
	"context"
	"fmt"
	"net"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"

	"github.com/cloister-cc/cloister/shim/snapshotter/api"
)

// Daemon asks the snapshotter's daemon at a Unix socket. It connects once a question: there are few, and the daemon may be restarted between two.
func Daemon(socket string) Maker { return daemon(socket) }

type daemon string

func (d daemon) Disk(ctx context.Context, diffID, format string) (Disk, error) {
	if err := CheckDiffID(diffID); err != nil {
		return Disk{}, err
	}
	if format != Ext4 && format != EROFS {
		return Disk{}, fmt.Errorf("layer format: got %s, want %q or %q", quote(format), Ext4, EROFS)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", string(d))
	if err != nil {
		return Disk{}, fmt.Errorf("the snapshotter's daemon (cloister-snapshotter): %w", err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	got, err := api.NewLayersClient(client).Disk(ctx, &api.DiskRequest{DiffId: diffID, Format: format})
	if err != nil {
		return Disk{}, fmt.Errorf("the snapshotter's daemon: %w", errgrpc.ToNative(err))
	}
	disk := Disk{Path: got.Path, Root: got.Root, Format: format}
	if err := disk.check(); err != nil {
		return Disk{}, fmt.Errorf("the snapshotter's daemon: %w", err)
	}
	return disk, nil
}
