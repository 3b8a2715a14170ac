package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloister-cc/cloister/snp/emulator"
)

// serve runs the processor behind the interfaces asked for, as far as the parameters have them, until ctx ends or one of them is lost.
func serve(ctx context.Context, args []string) (err error) {
	var f serveFlags
	if err := f.parse(args); err != nil {
		return err
	}
	order, err := openOrder(f)
	if err != nil {
		return err
	}
	defer order.close()
	if order != nil {
		if f.tee, err = order.disk(); f.tee == "" {
			return err
		}
	}
	params, err := readParams(f.tee)
	if err != nil {
		return err
	}
	proc, err := emulator.NewProcessor(params)
	if err != nil {
		return err
	}
	var devices []*emulator.Device
	defer func() {
		for _, d := range devices {
			err = errors.Join(err, d.Close())
		}
	}()
	if f.cuse != "" && params.Serves(emulator.IoctlOnly) {
		d, err := serveCUSE(ctx, proc, f.cuse, f.device)
		if d != nil {
			devices = append(devices, d)
		}
		if err != nil {
			return err
		}
	}
	if f.tsm != "" && params.Serves(emulator.ConfigfsOnly) {
		d, err := emulator.ServeTSM(proc, f.tsm)
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	if err := announce(f, order, proc); err != nil {
		return err
	}
	return waitFor(ctx, devices)
}

// announce says that the interfaces are served. Under orders the fault script is held until whoever gave them has looked at the interfaces, so that the
// script's counts begin with what comes after.
func announce(f serveFlags, order *order, proc *emulator.Processor) error {
	if f.ready < 0 {
		return nil
	}
	ready := os.NewFile(uintptr(f.ready), "ready")
	if ready == nil {
		return fmt.Errorf("signal readiness: descriptor %d is not open", f.ready)
	}
	defer ready.Close()
	if order == nil {
		_, err := ready.WriteString(readyLine)
		return err
	}
	proc.HoldScript()
	if _, err := ready.WriteString(readyLine); err != nil {
		return err
	}
	if err := order.start(); err != nil {
		return err
	}
	proc.StartScript()
	_, err := ready.WriteString(readyLine)
	return err
}

// order is what the parent says: the path of the disk, then startLine.
type order struct {
	file  *os.File
	lines *bufio.Reader
}

// openOrder is nil without a parent.
func openOrder(f serveFlags) (*order, error) {
	if f.order < 0 {
		return nil, nil
	}
	file := os.NewFile(uintptr(f.order), "order")
	if file == nil {
		return nil, fmt.Errorf("read order: descriptor %d is not open", f.order)
	}
	return &order{file: file, lines: bufio.NewReader(file)}, nil
}

func (o *order) close() {
	if o != nil {
		o.file.Close()
	}
}

// disk waits for the path of the disk; none comes when there is nothing to serve.
func (o *order) disk() (string, error) {
	line, err := o.lines.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "", nil
	}
	return strings.TrimSuffix(line, "\n"), err
}

// start waits until the script may begin.
func (o *order) start() error {
	line, err := o.lines.ReadString('\n')
	if err != nil || line != startLine {
		return fmt.Errorf("read order: got %.40q, want %q: %w", line, startLine, err)
	}
	return nil
}

func readParams(path string) (emulator.TEEParams, error) {
	f, err := os.Open(path)
	if err != nil {
		return emulator.TEEParams{}, err
	}
	defer f.Close()
	return emulator.ReadTEEDisk(f)
}

// serveCUSE returns when the device's node is there.
func serveCUSE(ctx context.Context, proc *emulator.Processor, path, device string) (*emulator.Device, error) {
	cuse, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d, err := emulator.ServeCUSE(proc, cuse, device)
	if err != nil {
		return nil, errors.Join(err, cuse.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d, awaitNode(ctx, filepath.Join("/dev", device))
}

// waitFor returns when ctx ends (no error) or a device is gone (its error).
func waitFor(ctx context.Context, devices []*emulator.Device) error {
	lost := make(chan error, len(devices))
	for _, d := range devices {
		go func() { <-d.Done(); lost <- d.Err() }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-lost:
		return err
	}
}
