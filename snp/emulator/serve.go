package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Device is one running interface of the processor.
type Device struct {
	stop func() error
	done chan struct{}
	err  error // why it ended; set before done is closed
}

// Done is closed when the interface is gone.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err says why the interface is gone, nil after Close.
func (d *Device) Err() error { <-d.done; return d.err }

// Close takes the interface away and waits until it is gone.
func (d *Device) Close() error {
	err := d.stop()
	<-d.done
	return err
}

// ServeCUSE registers the character device /dev/<name> through an open /dev/cuse and serves it. When it returns the kernel knows the device;
// its node appears a moment later.
func ServeCUSE(proc *Processor, cuse io.ReadWriteCloser, name string) (*Device, error) {
	buf := make([]byte, cuseBuffer)
	first, err := readMessage(cuse, buf)
	if err != nil {
		return nil, fmt.Errorf("register device %q: %w", name, err)
	}
	out, err := first.initReply(name)
	if err != nil {
		return nil, fmt.Errorf("register device %q: %w", name, err)
	}
	if _, err := cuse.Write(out); err != nil {
		return nil, fmt.Errorf("register device %q: %w", name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d := &Device{done: make(chan struct{}), stop: func() error { cancel(); return cuse.Close() }}
	go func() {
		defer close(d.done)
		if err := serveCUSE(ctx, &ioctlServer{proc: proc}, cuse, buf); ctx.Err() == nil {
			d.err = fmt.Errorf("serve device %q: %w", name, err)
		}
	}()
	return d, nil
}

func readMessage(r io.Reader, buf []byte) (message, error) {
	n, err := r.Read(buf) // the kernel gives one message a read
	if err != nil {
		return message{}, err
	}
	return parseMessage(buf[:n])
}

func serveCUSE(ctx context.Context, d *ioctlServer, cuse io.ReadWriter, buf []byte) error {
	for {
		m, err := readMessage(cuse, buf)
		if err != nil {
			return err
		}
		out := d.handle(ctx, m)
		if out == nil {
			continue
		}
		// ENOENT: the caller was killed and its request is gone.
		if _, err := cuse.Write(out); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
}

// ServeTSM mounts a tree in configfs-tsm's shape over dir, which takes the place of /sys/kernel/config, and serves it.
func ServeTSM(proc *Processor, dir string) (*Device, error) {
	second := time.Second
	server, err := fs.Mount(dir, newTSM(proc), &fs.Options{
		EntryTimeout: &second,
		AttrTimeout:  &second,
		MountOptions: fuse.MountOptions{
			FsName:            "cloister-tsm",
			Name:              "cloister-tsm",
			DirectMountStrict: true, // there is no fusermount in the guest
			DisableXAttrs:     true,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("serve configfs-tsm at %q: %w", dir, err)
	}
	d := &Device{done: make(chan struct{}), stop: server.Unmount}
	go func() {
		defer close(d.done)
		server.Wait()
	}()
	return d, nil
}
