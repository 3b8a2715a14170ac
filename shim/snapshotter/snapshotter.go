package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/rootfs"
	"github.com/cloister-cc/cloister/verity/layer"
)

// Config says where a Snapshotter keeps its things and where layers come from.
type Config struct {
	// Root is an absolute directory of this process's own.
	Root string
	// Content is containerd's content store.
	Content content.Provider
	// Format is the file system that layers are converted to when they are unpacked; "" is ext4.
	Format layer.Format
	// Conversions is how many layers are converted at a time; 0 is one a processor, at most 4. Each takes some 30 MiB.
	Conversions int
	// Limits bounds hostile layers.
	Limits layer.Limits
	// Log is told of layers that were made, and of what went wrong without failing a call; nil is silence.
	Log *zap.Logger
	// Metrics is where numbers are registered; nil registers none.
	Metrics prometheus.Registerer
}

// Snapshotter implements containerd's snapshots.Snapshotter and snapshots.Cleaner, and with its Apply and Compare the differ of the same name.
type Snapshotter struct {
	config Config
	dir    string // of snapshots
	meta   *storage.MetaStore
	layers *store
	turns  *semaphore.Weighted // conversions
	busy   keyed               // blobs that are being converted
	making *flights            // disks in another format

	numbers *numbers

	lock  *os.File
	close sync.Once
}

var (
	_ snapshots.Snapshotter = (*Snapshotter)(nil)
	_ snapshots.Cleaner     = (*Snapshotter)(nil)
)

const mostConversions = 4

// New opens a snapshotter and removes what an earlier process left unfinished.
func New(ctx context.Context, c Config) (_ *Snapshotter, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open snapshotter %q: %w", c.Root, err)
		}
	}()
	if !filepath.IsAbs(c.Root) {
		return nil, errors.New("root: want an absolute path")
	}
	if c.Format, err = layer.ParseFormat(string(c.Format)); err != nil {
		return nil, err
	}
	if c.Conversions <= 0 {
		c.Conversions = min(runtime.GOMAXPROCS(0), mostConversions)
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	s := &Snapshotter{
		config: c, dir: filepath.Join(c.Root, "snapshots"), turns: semaphore.NewWeighted(int64(c.Conversions)), making: newFlights(), numbers: newNumbers(),
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = lockRoot(c.Root); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if s.layers, err = openStore(filepath.Join(c.Root, "layers"), filepath.Join(c.Root, "work")); err != nil {
		return nil, err
	}
	if err := s.removeUnfinished(); err != nil {
		return nil, err
	}
	if s.meta, err = storage.NewMetaStore(filepath.Join(c.Root, "metadata.db")); err != nil {
		return nil, err
	}
	if err := s.Cleanup(ctx); err != nil {
		return nil, errors.Join(err, s.meta.Close())
	}
	if c.Metrics != nil {
		if err := s.register(c.Metrics); err != nil {
			return nil, errors.Join(err, s.meta.Close())
		}
	}
	return s, nil
}

// Close gives up disks that are being made and gives the metadata back. Calls under way are not waited for; the server does that.
func (s *Snapshotter) Close() (err error) {
	s.close.Do(func() {
		s.making.close()
		err = errors.Join(s.meta.Close(), s.lock.Close())
	})
	return err
}

// lockRoot makes sure that no other process works below the root: two would remove each other's unfinished work.
func lockRoot(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process has it: %w", err)
	}
	return f, nil
}

// Stat returns the info of a snapshot.
func (s *Snapshotter) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

// Update changes labels.
func (s *Snapshotter) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	var out snapshots.Info
	err := s.meta.WithTransaction(ctx, true, func(ctx context.Context) (err error) {
		out, err = storage.UpdateInfo(ctx, info, fieldpaths...)
		return err
	})
	return out, err
}

// Walk calls fn for every snapshot that passes the filters.
func (s *Snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, filters ...string) error {
	return s.meta.WithTransaction(ctx, false, func(ctx context.Context) error {
		return storage.WalkInfo(ctx, fn, filters...)
	})
}

// Usage returns what a snapshot takes on the disk: a layer all of its formats, whoever shares it; a container's next to nothing.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	var id string
	err := s.meta.WithTransaction(ctx, false, func(ctx context.Context) (err error) {
		id, _, _, err = storage.GetInfo(ctx, key)
		return err
	})
	if err != nil {
		return snapshots.Usage{}, err
	}
	usage, err := usageOf(s.path(id))
	if err != nil {
		return snapshots.Usage{}, err
	}
	diffID, err := s.reference(id)
	if errors.Is(err, fs.ErrNotExist) {
		return usage, nil
	}
	if err != nil {
		return snapshots.Usage{}, err
	}
	of, err := usageOf(s.layers.path(diffID))
	usage.Add(of)
	return usage, err
}

func (s *Snapshotter) path(id string) string { return filepath.Join(s.dir, id) }

const (
	layerFile = "layer" // the diff id of a snapshot that is a layer
	diffIDLen = len("sha256:") + 64
)

// reference returns the diff id of the layer that a snapshot stands for; fs.ErrNotExist if it stands for none.
func (s *Snapshotter) reference(id string) (string, error) {
	f, err := os.Open(filepath.Join(s.path(id), layerFile))
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(diffIDLen)+1))
	if err != nil {
		return "", err
	}
	if err := rootfs.CheckDiffID(string(text)); err != nil {
		return "", fmt.Errorf("%s: %w: %w", f.Name(), err, errDamaged)
	}
	return string(text), nil
}

var errDamaged = errors.New("the file is damaged: remove the image and pull it again")

// refer makes a snapshot stand for a layer, which the caller has pinned.
func (s *Snapshotter) refer(id, diffID string) error {
	if err := writeSynced(filepath.Join(s.path(id), layerFile), []byte(diffID)); err != nil {
		return err
	}
	return syncDir(s.dir) // the directory was given its name without
}
