package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/shim/pod"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// A layer's disk holds its file system, then the dm-verity superblock, then the tree of hashes. Where a bit is flipped decides who
// notices: the tree's top block makes the root hash, which the agent computes before it asks the policy; everything below is
// checked by the guest's kernel when it is read. There is no bit that nobody checks.

// flippedTree changes the top of the tree: the disk's root hash becomes one that the policy does not know.
func (d *demo) flippedTree(ctx context.Context) error {
	c, disk, err := d.flipTarget(ctx)
	if err != nil {
		return err
	}
	img, err := layer.InspectFile(ctx, disk.Path, true)
	if err != nil {
		return err
	}
	copied, err := d.flipped(disk.Path, img.DataSize()+verity.BlockSize)
	if err != nil {
		return err
	}
	changed, err := layer.InspectFile(ctx, copied, false)
	if err != nil {
		return err
	}
	d.out.note("the host flips one bit in the top block of the hash tree of nginx's last layer")
	d.out.note("root hash in the policy  %s", img.Root)
	d.out.note("root hash of the disk    %s", changed.Root)
	*disk = podrun.Layer{Path: copied, Root: changed.Root.String()}
	return d.refused(d.hostile.create(ctx, c), "CreateContainerRequest", "mount_device", "deviceHash")
}

// portLine stands in nginx's configuration, in the last layer of its image.
const portLine = "listen 8080;"

// flippedData changes a file: port 8080 becomes 9080. Superblock and top of the tree are as they were, so the disk is mounted; the
// kernel refuses to read the block, because it does not match the tree.
func (d *demo) flippedData(ctx context.Context) error {
	c, disk, err := d.flipTarget(ctx)
	if err != nil {
		return err
	}
	img, err := layer.InspectFile(ctx, disk.Path, true)
	if err != nil {
		return err
	}
	at, err := findOnce(disk.Path, img.DataSize(), portLine)
	if err != nil {
		return err
	}
	copied, err := d.flipped(disk.Path, at+int64(len("listen ")))
	if err != nil {
		return err
	}
	d.out.note("the host flips one bit in the file /etc/nginx/nginx.conf: %q would be %q", portLine, "listen 9080;")
	*disk = podrun.Layer{Path: copied, Root: img.Root.String()}
	if err := d.hostile.CreateContainer(ctx, c); err != nil {
		return err
	}
	out, status, err := d.runToEnd(ctx, c)
	if err := errors.Join(err, d.hostile.RemoveContainer(context.WithoutCancel(ctx), c)); err != nil {
		return err
	}
	if status == 0 {
		return errors.New("nginx read a changed file")
	}
	d.out.note("nginx ended with status %d: the changed block cannot be read", status)
	return names(out, "/etc/nginx/nginx.conf", "Input/output error")
}

// flipTarget is nginx's container with its topmost layer, which has the configuration.
func (d *demo) flipTarget(ctx context.Context) (*podrun.Container, *podrun.Layer, error) {
	c, err := d.hostile.container(ctx, "nginx")
	if err != nil {
		return nil, nil, err
	}
	if len(c.Disks) == 0 {
		return nil, nil, errors.New("nginx has no layers")
	}
	return c, &c.Disks[len(c.Disks)-1], nil
}

// flippedDisk is the changed copy's name; tearDown removes it.
const flippedDisk = "flipped.disk"

// flipped copies a disk and flips the lowest bit of one byte.
func (d *demo) flipped(from string, at int64) (string, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	if at < 0 || at >= int64(len(data)) {
		return "", fmt.Errorf("flip a bit of %q: offset %d is outside its %d bytes", from, at, len(data))
	}
	data[at] ^= 1
	path, err := filepath.Abs(d.file(flippedDisk))
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o600)
}

// findOnce finds a text in the file system of a disk.
func findOnce(disk string, size int64, text string) (int64, error) {
	f, err := os.Open(disk)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return 0, err
	}
	if n := bytes.Count(data, []byte(text)); n != 1 {
		return 0, fmt.Errorf("%q in %q: found %d times, want once", text, disk, n)
	}
	return int64(bytes.Index(data, []byte(text))), nil
}

// foreignImage puts one more layer on top of nginx's, with a page of the host's own.
func (d *demo) foreignImage(ctx context.Context) error {
	c, err := d.hostile.container(ctx, "nginx")
	if err != nil {
		return err
	}
	top, err := fileLayer("srv/www/index.html", "<h1>Hello from the host</h1>\n")
	if err != nil {
		return err
	}
	c.Layers = append(c.Layers, top)
	changed, err := podrun.Convert(ctx, d.hostile.cache, []*pod.Container{c.Container})
	if err != nil {
		return err
	}
	d.out.note("the host puts one more layer on top of nginx's image, well formed, with a page of its own")
	return d.refused(d.hostile.create(ctx, changed[0]), "CreateContainerRequest", "mount_device", "deviceHash")
}

// fileLayer is an image layer with one file.
func fileLayer(name, content string) (pod.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return pod.Layer{}, err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return pod.Layer{}, err
	}
	if err := w.Close(); err != nil {
		return pod.Layer{}, err
	}
	sum := sha256.Sum256(b.Bytes())
	return pod.Layer{
		DiffID: "sha256:" + hex.EncodeToString(sum[:]),
		Open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
	}, nil
}
