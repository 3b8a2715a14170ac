package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cloister-cc/cloister/snp/emulator"
)

// serve runs the processor behind the interfaces asked for until ctx ends or one of them is lost.
func serve(ctx context.Context, args []string) (err error) {
	var f serveFlags
	if err := f.parse(args); err != nil {
		return err
	}
	if f.order >= 0 {
		if f.tee, err = awaitOrder(f.order); f.tee == "" {
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
	if f.cuse != "" {
		d, err := serveCUSE(proc, f.cuse, f.device)
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	if f.tsm != "" {
		d, err := emulator.ServeTSM(proc, f.tsm)
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	if f.ready >= 0 {
		if err := signalReady(f.ready); err != nil {
			return err
		}
	}
	return waitFor(ctx, devices)
}

// awaitOrder waits for the path of the disk; none comes when there is nothing to serve.
func awaitOrder(fd int) (string, error) {
	f := os.NewFile(uintptr(fd), "order")
	if f == nil {
		return "", fmt.Errorf("read order: descriptor %d is not open", fd)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return "", nil
	}
	return strings.TrimSuffix(line, "\n"), err
}

func readParams(path string) (emulator.TEEParams, error) {
	f, err := os.Open(path)
	if err != nil {
		return emulator.TEEParams{}, err
	}
	defer f.Close()
	return emulator.ReadTEEDisk(f)
}

func serveCUSE(proc *emulator.Processor, path, device string) (*emulator.Device, error) {
	cuse, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	d, err := emulator.ServeCUSE(proc, cuse, device)
	if err != nil {
		return nil, errors.Join(err, cuse.Close())
	}
	return d, nil
}

func signalReady(fd int) error {
	f := os.NewFile(uintptr(fd), "ready")
	if f == nil {
		return fmt.Errorf("signal readiness: descriptor %d is not open", fd)
	}
	_, err := f.WriteString(readyLine)
	return errors.Join(err, f.Close())
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
