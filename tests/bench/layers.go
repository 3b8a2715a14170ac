package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Layers are measured in processes of their own, one a conversion: what one way leaves to the garbage collector must not be the
// other's burden, and resident memory has to be one conversion's.

// layerJob is what such a process is to do.
type layerJob struct {
	Way  string `json:"way"`
	Path string `json:"path"`
	Out  string `json:"out"` // for the ways that write a disk
}

// layerDone is what it says of it.
type layerDone struct {
	Root     string  `json:"root"`
	MS       float64 `json:"ms"`
	Resident float64 `json:"resident_mib"` // the most it ever had
	Read     int64   `json:"read"`         // bytes of the layer
}

const layerJobEnv = "CLOISTER_BENCH_LAYER"

// measureLayers compares layers' roots and disks with hcsshim's, EROFS with its ext4 converter, compressed layers with bare
// decompression, a long layer's memory with a short one's, and makes all roots of a pod.
func measureLayers(ctx context.Context, b *bench) error {
	in, err := b.makeLayers()
	if err != nil {
		return err
	}
	return errors.Join(
		b.measureConversion(ctx, "files", in.files),
		b.measureConversion(ctx, "big", in.big),
		b.measureCompressed(ctx, "files", in.filesGzip),
		b.measureCompressed(ctx, "big", in.shortGzip),
		b.measureLayerMemory(ctx, in.short, in.long),
		b.measurePodLayers(ctx, in.pod),
	)
}

// layerRun runs one conversion.
func (b *bench) layerRun(ctx context.Context, way, path string) (layerDone, error) {
	out := filepath.Join(b.scratch, "disk")
	defer os.Remove(out)
	job, err := json.Marshal(layerJob{way, path, out})
	if err != nil {
		return layerDone{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return layerDone{}, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), layerJobEnv+"="+string(job), "TMPDIR="+b.scratch)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return layerDone{}, fmt.Errorf("%s of %s: %w", way, filepath.Base(path), err)
	}
	var done layerDone
	return done, json.Unmarshal(text, &done)
}

// layerRounds runs the ways in turn, after one round that only fills caches, and returns a sample a way. Ways of one format must
// agree on the root.
func (b *bench) layerRounds(ctx context.Context, path string, ways ...string) (map[string]sample, error) {
	samples, roots := map[string]sample{}, map[string]string{}
	for i := range b.runs.layers + 1 {
		for _, way := range ways {
			done, err := b.layerRun(ctx, way, path)
			if err != nil {
				return nil, err
			}
			format, _, _ := strings.Cut(way, "-")
			if done.Root != "" && roots[format] != "" && done.Root != roots[format] {
				return nil, fmt.Errorf("%s of %s: root %s, want %s as in another way", way, filepath.Base(path), done.Root, roots[format])
			}
			if done.Root != "" {
				roots[format] = done.Root
			}
			if i > 0 {
				samples[way] = append(samples[way], done.MS)
			}
		}
	}
	return samples, nil
}

func (b *bench) measureConversion(ctx context.Context, name, path string) error {
	s, err := b.layerRounds(ctx, path, "ext4-root", "ext4-hcsshim-root", "ext4-disk", "ext4-hcsshim-disk", "ext4-hcsshim-convert", "erofs-disk", "erofs-root")
	if err != nil {
		return err
	}
	told := func(reference, way string) string {
		return fmt.Sprintf("%s %s; ours %s", reference, brief(s[reference].median()), brief(s[way].median()))
	}
	b.addRatio("layer_root_speed_"+name, s["ext4-hcsshim-root"], s["ext4-root"], told("ext4-hcsshim-root", "ext4-root"), atLeast(1.4))
	b.addRatio("layer_disk_speed_"+name, s["ext4-hcsshim-disk"], s["ext4-disk"], told("ext4-hcsshim-disk", "ext4-disk"), target{})
	b.addRatio("layer_erofs_ratio_"+name, s["erofs-disk"], s["ext4-hcsshim-convert"], told("ext4-hcsshim-convert", "erofs-disk"), atMost(1.5))
	b.addRatio("layer_erofs_root_ratio_"+name, s["erofs-root"], s["ext4-hcsshim-convert"], told("ext4-hcsshim-convert", "erofs-root"), target{})
	return nil
}

func (b *bench) measureCompressed(ctx context.Context, name, path string) error {
	s, err := b.layerRounds(ctx, path, "ext4-root", "gunzip", "erofs-root")
	if err != nil {
		return err
	}
	bare := "bare inflate " + brief(s["gunzip"].median()) + "; ours "
	b.addRatio("layer_gzip_of_inflate_"+name, s["gunzip"], s["ext4-root"], bare+brief(s["ext4-root"].median()), atLeast(0.95))
	b.addRatio("layer_gzip_erofs_of_inflate_"+name, s["gunzip"], s["erofs-root"], bare+brief(s["erofs-root"].median()), target{})
	return nil
}

// measureLayerMemory compares what is resident at most for two layers of which one is eight times as long.
func (b *bench) measureLayerMemory(ctx context.Context, short, long string) error {
	for _, way := range []string{"ext4-root", "ext4-disk", "erofs-root"} {
		var of, to sample
		for range min(b.runs.layers, 3) {
			for path, s := range map[string]*sample{short: &to, long: &of} {
				done, err := b.layerRun(ctx, way, path)
				if err != nil {
					return err
				}
				*s = append(*s, done.Resident)
			}
		}
		name := strings.ReplaceAll(way, "-", "_")
		b.addRatio("layer_memory_growth_"+name, of, to, fmt.Sprintf("256 MiB layer %.0f MiB resident; 2 GiB layer %.0f MiB", to.median(), of.median()), atMost(1.25))
		b.add("layer_memory_mib_"+name, of, "MiB", "2 GiB layer", atMost(200))
	}
	return nil
}

// measurePodLayers makes the roots of all layers of a pod of five images, and counts what is read for it.
func (b *bench) measurePodLayers(ctx context.Context, dir string) error {
	s := map[string]sample{}
	var passes sample
	size, err := sizeBelow(dir)
	if err != nil {
		return err
	}
	roots := ""
	for range min(b.runs.layers, 3) {
		for _, way := range []string{"pod-root", "pod-hcsshim-root"} {
			done, err := b.layerRun(ctx, way, dir)
			if err != nil {
				return err
			}
			if roots != "" && done.Root != roots {
				return errors.New("layers of a pod: roots differ from hcsshim's")
			}
			roots = done.Root
			s[way] = append(s[way], done.MS)
			if way == "pod-root" {
				passes = append(passes, float64(done.Read)/float64(size))
			}
		}
	}
	what := fmt.Sprintf("%d layers of %d images, %d MiB", podImages*podLayers, podImages, size>>20)
	b.add("layer_pod_passes", passes, "passes", what, atMost(1))
	b.addRatio("layer_pod_speed", s["pod-hcsshim-root"], s["pod-root"],
		fmt.Sprintf("%s: hcsshim, one after another, %s; ours %s", what, brief(s["pod-hcsshim-root"].median()), brief(s["pod-root"].median())), target{})
	return nil
}
