package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity/layer"
)

// layerWays are the conversions that are compared. hcsshim's are its public functions with the options its own tools use.
var layerWays = map[string]func(ctx context.Context, in *os.File, job layerJob) (root string, err error){
	"ext4-root": func(ctx context.Context, in *os.File, _ layerJob) (string, error) { return rootIn(ctx, in, layer.Ext4) },
	"erofs-root": func(ctx context.Context, in *os.File, _ layerJob) (string, error) {
		return rootIn(ctx, in, layer.EROFS)
	},
	"ext4-disk": func(ctx context.Context, in *os.File, job layerJob) (string, error) {
		return diskIn(ctx, in, job.Out, layer.Ext4)
	},
	"erofs-disk": func(ctx context.Context, in *os.File, job layerJob) (string, error) {
		return diskIn(ctx, in, job.Out, layer.EROFS)
	},
	"ext4-hcsshim-root": func(_ context.Context, in *os.File, _ layerJob) (string, error) {
		return tar2ext4.ConvertAndComputeRootDigest(in)
	},
	"ext4-hcsshim-disk":    hcsshimDisk,
	"ext4-hcsshim-convert": hcsshimConvert,
	"gunzip":               gunzip,
}

const hcsshimDiskSize = 128 << 30

func rootIn(ctx context.Context, in *os.File, f layer.Format) (string, error) {
	res, err := layer.Root(ctx, in, layer.Options{Format: f})
	return res.RootHash.String(), err
}

func diskIn(ctx context.Context, in *os.File, path string, f layer.Format) (string, error) {
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer out.Close()
	res, err := layer.Convert(ctx, in, out, layer.Options{Format: f})
	return res.RootHash.String(), err
}

func hcsshimDisk(_ context.Context, in *os.File, job layerJob) (string, error) {
	out, err := os.Create(job.Out)
	if err != nil {
		return "", err
	}
	defer out.Close()
	return "", tar2ext4.Convert(in, out, tar2ext4.ConvertWhiteout, tar2ext4.MaximumDiskSize(hcsshimDiskSize), tar2ext4.AppendDMVerity)
}

func hcsshimConvert(_ context.Context, in *os.File, job layerJob) (string, error) {
	out, err := os.Create(job.Out)
	if err != nil {
		return "", err
	}
	defer out.Close()
	return "", tar2ext4.ConvertTarToExt4(in, out, tar2ext4.ConvertWhiteout, tar2ext4.MaximumDiskSize(hcsshimDiskSize))
}

func gunzip(_ context.Context, in *os.File, _ layerJob) (string, error) {
	r, err := gzip.NewReader(bufio.NewReaderSize(in, 1<<20))
	if err != nil {
		return "", err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 512<<10))
	return "", err
}

// runLayerJob is this program when it is to do one conversion.
func runLayerJob(ctx context.Context, text string) error {
	var job layerJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	debug.SetGCPercent(layer.GCPercent) // as the command does; for every way, hcsshim's too
	var done layerDone
	begin := time.Now()
	err := job.run(ctx, &done)
	done.MS = milliseconds(time.Since(begin))
	if err != nil {
		return err
	}
	if done.Resident, err = mostResident(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(done)
}

func (job layerJob) run(ctx context.Context, done *layerDone) error {
	if strings.HasPrefix(job.Way, "pod-") {
		return job.runPod(ctx, done)
	}
	in, err := os.Open(job.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	do := layerWays[job.Way]
	if do == nil {
		return fmt.Errorf("no way %q", job.Way)
	}
	done.Root, err = do(ctx, in, job)
	return err
}

// runPod makes the roots of all layers in a directory: ours side by side, hcsshim's as its tool does, one after another.
func (job layerJob) runPod(ctx context.Context, done *layerDone) error {
	names, err := filepath.Glob(filepath.Join(job.Path, "*.tar"))
	if err != nil {
		return err
	}
	var read atomic.Int64
	roots := make([]string, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(1)
	if job.Way == "pod-root" {
		group.SetLimit(runtime.GOMAXPROCS(0))
	}
	for i, name := range names {
		group.Go(func() error {
			in, err := os.Open(name)
			if err != nil {
				return err
			}
			defer in.Close()
			counted := &countedReader{in, &read}
			if job.Way == "pod-root" {
				res, err := layer.Root(ctx, counted, layer.Options{})
				roots[i] = res.RootHash.String()
				return err
			}
			roots[i], err = tar2ext4.ConvertAndComputeRootDigest(counted)
			return err
		})
	}
	err = group.Wait()
	done.Root, done.Read = strings.Join(roots, ","), read.Load()
	return err
}

type countedReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// mostResident is the most memory this process ever had, in MiB.
func mostResident() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(value)), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}
