package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity"
)

const (
	diskSize = 1 << 30
	saltHex  = "0000000000000000000000000000000000000000000000000000000000000000"
)

// measureVerity builds the tree of a 1 GiB file in the page cache, by turns with our builder on one core and on two and with veritysetup, and
// hashes as many bytes block by block without building anything: on two cores too, which shows whether the machine had a second one to give.
func measureVerity(ctx context.Context, b *bench) error {
	path := filepath.Join(b.scratch, "disk")
	defer os.Remove(path)
	if err := writeRandom(path, diskSize); err != nil {
		return err
	}
	var one, two, setup, setupCPU, hash, hashTwo sample
	var roots [3]string
	for i := range b.runs.verity + 1 {
		var took [6]time.Duration
		var err error
		if took[0], roots[0], err = b.buildTree(ctx, path, 1); err != nil {
			return err
		}
		if took[1], took[2], roots[1], err = b.veritysetup(ctx, path); err != nil {
			return err
		}
		if took[3], roots[2], err = b.buildTree(ctx, path, 2); err != nil {
			return err
		}
		if took[4], err = hashBlocks(ctx, path, 1); err != nil {
			return err
		}
		if took[5], err = hashBlocks(ctx, path, 2); err != nil {
			return err
		}
		if roots[0] != roots[1] || roots[1] != roots[2] {
			return fmt.Errorf("roots differ: %q", roots)
		}
		if i == 0 {
			continue
		}
		for at, s := range []*sample{&one, &setup, &setupCPU, &two, &hash, &hashTwo} {
			s.addDuration(took[at])
		}
	}
	format, ours := "veritysetup format "+brief(setup.median()), "; ours "
	b.addRatio("verity_one_core_speed", setup, one, format+ours+brief(one.median()), atLeast(1.25))
	b.addRatio("verity_two_cores_speed", setup, two, format+ours+brief(two.median()), atLeast(2.4))
	b.addRatio("verity_one_core_speed_by_cpu_time", setupCPU, one,
		"veritysetup format, user+system "+brief(setupCPU.median())+ours+brief(one.median()), target{})
	b.addRatio("verity_of_sha256_rate", hash, one, "SHA-256 of 4 KiB blocks, one core "+brief(hash.median())+ours+brief(one.median()), target{})
	b.addRatio("sha256_two_cores_scaling", hash, hashTwo, "SHA-256 of 4 KiB blocks, one core "+brief(hash.median())+"; two "+brief(hashTwo.median()), target{})
	return nil
}

func writeRandom(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{1})
	chunk := make([]byte, 1<<20)
	for range size / len(chunk) {
		_, _ = random.Read(chunk) // does not fail
		if _, err := f.Write(chunk); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close()) // written back now, not while something is measured
}

// buildTree builds the tree with our builder on so many cores, into a file as veritysetup does.
func (b *bench) buildTree(ctx context.Context, path string, cores int) (time.Duration, string, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	data, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer data.Close()
	tree, err := os.Create(filepath.Join(b.scratch, "tree"))
	if err != nil {
		return 0, "", err
	}
	defer tree.Close()
	begin := time.Now()
	root, err := verity.Build(ctx, data, diskSize, tree, verity.BuildOptions{})
	return time.Since(begin), root.String(), err
}

var rootLine = regexp.MustCompile(`(?m)^Root hash:\s*([0-9a-f]{64})\s*$`)

// veritysetup returns wall time, processor time and the root.
func (b *bench) veritysetup(ctx context.Context, path string) (wall, cpu time.Duration, root string, err error) {
	tree := filepath.Join(b.scratch, "tree-veritysetup")
	defer os.Remove(tree)
	cmd := exec.CommandContext(ctx, "veritysetup", "format", "--salt", saltHex, path, tree)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Err != nil {
		cmd.Path, cmd.Err = "/usr/sbin/veritysetup", nil
	}
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	wall = time.Since(begin)
	if err != nil {
		return 0, 0, "", fmt.Errorf("veritysetup: %w: %s", err, out)
	}
	if m := rootLine.FindStringSubmatch(string(out)); m != nil {
		root = strings.ToLower(m[1])
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, "", errors.New("veritysetup: no processor time")
	}
	return wall, time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), root, nil
}

// hashBlocks is the bare hash: every 4 KiB of as many bytes, from memory, shared among so many cores.
func hashBlocks(ctx context.Context, path string, cores int) (time.Duration, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	chunk := make([]byte, 128<<10)
	if _, err := f.Read(chunk); err != nil {
		return 0, err
	}
	begin := time.Now()
	group, _ := errgroup.WithContext(ctx)
	for range cores {
		group.Go(func() error {
			var sink byte
			for range diskSize / len(chunk) / cores {
				for at := 0; at < len(chunk); at += verity.BlockSize {
					sum := sha256.Sum256(chunk[at : at+verity.BlockSize])
					sink ^= sum[0]
				}
			}
			runtime.KeepAlive(sink)
			return ctx.Err()
		})
	}
	err = group.Wait()
	return time.Since(begin), err
}
