package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/shim/snapshotter"
	"github.com/cloister-cc/cloister/verity/layer"
)

// settings are the command line.
type settings struct {
	root, socket, containerd, config, metrics string
	conversions, entries, inlineMiB           int
}

func newCommand() *cobra.Command { return new(settings).command() }

func (s *settings) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cloister-snapshotter",
		Short: "Unpack images for containerd into layer disks with dm-verity",
		Long: `Serve containerd's snapshots and diff services, and the shim's questions for layers in another format, on one Unix socket. The node's
configuration says which file system layers get (layer_format) and where the socket is (snapshotter).`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.serve(cmd.Context()) },
	}
	cmd.Flags().StringVar(&s.root, "root", "/var/lib/cloister/snapshotter", "directory for layers and metadata; nobody else's")
	cmd.Flags().StringVar(&s.socket, "socket", "", "Unix socket to listen on (default: the node configuration's)")
	cmd.Flags().StringVar(&s.containerd, "containerd", "/run/containerd/containerd.sock", "containerd's socket, whose content store has the blobs")
	cmd.Flags().StringVar(&s.config, "config", "", "the node's configuration (default "+node.Path+", which need not be there)")
	cmd.Flags().StringVar(&s.metrics, "metrics", "", "Unix socket to answer GET /metrics on (default: none)")
	cmd.Flags().IntVar(&s.conversions, "conversions", 0,
		"layers converted at a time; usual ones take some 30 MiB of memory each, hostile ones what the limits below say; 0: one a processor, at most 4")
	cmd.Flags().IntVar(&s.entries, "layer-entries", 300_000,
		"entries a layer may have; a layer of 300,000 takes up to 2.5 GiB of memory as ext4, about in proportion to the number")
	cmd.Flags().IntVar(&s.inlineMiB, "layer-inline-mib", 128,
		"MiB of inodes, names and small files a layer may have as EROFS; 128 take up to 0.8 GiB of memory")
	return cmd
}

// limits bound layers, which are the work of strangers: the converter keeps what it knows of each entry in memory until the layer ends.
func (s *settings) limits() (layer.Limits, error) {
	if s.entries < 1 {
		return layer.Limits{}, fmt.Errorf("--layer-entries: got %d, want at least 1", s.entries)
	}
	if s.inlineMiB < 1 {
		return layer.Limits{}, fmt.Errorf("--layer-inline-mib: got %d, want at least 1", s.inlineMiB)
	}
	return layer.Limits{Entries: s.entries, Inline: int64(s.inlineMiB) << 20}, nil
}

func (s *settings) serve(ctx context.Context) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(layer.GCPercent)
	}
	limits, err := s.limits()
	if err != nil {
		return err
	}
	log, err := zap.NewProduction()
	if err != nil {
		return err
	}
	log = log.With(zap.String("component", "snapshotter"))
	c, err := node.Load(s.config)
	if err != nil {
		return err
	}
	if s.socket == "" {
		s.socket = c.Snapshotter
	}
	conn, err := grpc.NewClient("unix://"+s.containerd, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("containerd at %q: %w", s.containerd, err)
	}
	defer conn.Close()
	numbers := prometheus.NewRegistry()
	sn, err := snapshotter.New(ctx, snapshotter.Config{
		Root: s.root, Content: proxy.NewContentStore(conn), Format: formatOf(c.LayerFormat), Conversions: s.conversions, Limits: limits,
		Log: log, Metrics: numbers,
	})
	if err != nil {
		return err
	}
	defer sn.Close()
	l, err := listen(s.socket)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if s.metrics != "" {
		m, err := listen(s.metrics)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		group.Go(func() error { return serveMetrics(ctx, m, numbers) })
	}
	group.Go(func() error { return snapshotter.Serve(ctx, l, sn) })
	log.Info("serving", zap.String("socket", s.socket), zap.String("root", s.root))
	if err := notify("READY=1"); err != nil {
		log.Warn("the service manager was not told", zap.Error(err))
	}
	return group.Wait()
}

// serveMetrics answers a scraper until the context ends.
func serveMetrics(ctx context.Context, l net.Listener, numbers *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(numbers, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// formatOf is what layers are converted to when nobody has asked for their roots yet.
func formatOf(f node.Format) layer.Format {
	if f == node.FormatEROFS {
		return layer.EROFS
	}
	return layer.Ext4
}

// listen takes the socket's path over from a process that is gone; the snapshotter's root is locked by now, so there is no other.
func listen(path string) (net.Listener, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("socket %q: want an absolute path", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("socket %q: there is a %s already", path, info.Mode())
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
