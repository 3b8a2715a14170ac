package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/verity"
)

// agentName is the form of every path that this package mounts at or names in mount options: the agent's own. The overlay
// file system gives a meaning to colon, comma and backslash.
var agentName = regexp.MustCompile(`^(/[A-Za-z0-9_.+-]+)+$`)

func checkName(path string) error {
	if !agentName.MatchString(path) || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		return fmt.Errorf("path %.128q is not one of the agent's names", path)
	}
	return nil
}

// overlayData are fixed options. A layer's redirect and metacopy attributes would let one layer give names to files of
// another, past the order the policy judged; index and NFS export need file handles nobody asks for.
const overlayData = "index=off,nfs_export=off,redirect_dir=nofollow,metacopy=off"

// maxMountData is what mount(2) takes.
const maxMountData = 4095

// MountOverlay mounts lowers, top first, beneath upper. The three directories are made if they are not there; upper and work
// go with the scratch they are on. Device nodes in an image are dead: containers get theirs from the runtime.
func (m *Manager) MountOverlay(ctx context.Context, lowers []string, upper, work, target string) (*Mount, error) {
	t := m.newMount(target)
	if err := t.mountOverlay(ctx, lowers, upper, work); err != nil {
		return nil, t.rollBack(fmt.Errorf("mount overlay: %w", err))
	}
	return t, nil
}

func (t *Mount) mountOverlay(ctx context.Context, lowers []string, upper, work string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(lowers) == 0 {
		return errors.New("it has no layers")
	}
	for _, path := range append([]string{t.target, upper, work}, lowers...) {
		if err := checkName(path); err != nil {
			return err
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,%s", strings.Join(lowers, ":"), upper, work, overlayData)
	if len(data) > maxMountData {
		return fmt.Errorf("%d layers: options of %d bytes, want at most %d", len(lowers), len(data), maxMountData)
	}
	if err := t.m.cfg.LoadModule("overlay"); err != nil {
		return err
	}
	// The upper directory's mode is the one of the container's root directory.
	if err := mkdirs(upper, 0o755); err != nil {
		return err
	}
	if err := mkdirs(work, 0o700); err != nil {
		return err
	}
	if err := t.makeDir(t.target, 0o755); err != nil {
		return err
	}
	return t.attach(func() error {
		if err := unix.Mount("overlay", t.target, "overlay", unix.MS_NODEV, data); err != nil {
			return fmt.Errorf("mount %d layers at %q: %w", len(lowers), t.target, err)
		}
		return nil
	})
}

// mkdirs makes a directory that goes away with the file system it is on.
func mkdirs(dir string, mode os.FileMode) error {
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return isDir(dir)
}

// leftBehind keeps the name of a device that a failed activation could not remove.
func (m *Manager) leftBehind(name string, err error) error {
	if errors.Is(err, verity.ErrLeftBehind) {
		m.hold(Held{"device", name})
		return errors.Join(err, ErrStateUnknown)
	}
	return err
}
