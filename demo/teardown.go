package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tearDown ends what still runs, after a failure or an interrupt, and then looks for what should not be there any more.
func (d *demo) tearDown(ctx context.Context) error {
	var errs []error
	if d.pod != nil && d.pod.running() {
		d.out.note("the pod still runs: ending it")
		errs = append(errs, d.pod.interrupt())
	}
	errs = append(errs, d.stopHostile(ctx))
	if err := os.Remove(d.file(flippedDisk)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, name := range []string{podName, envPodName, hostileName} {
		errs = append(errs, d.gone(name))
	}
	ours, err := d.ours()
	if err != nil {
		return err
	}
	errs = append(errs, noProcess("/proc", strconv.Itoa(os.Getpid()), ours), noMount("/proc/self/mountinfo", ours))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.out.note("no process, no mount, no state directory")
	return nil
}

// gone checks that a pod's state directory is not there.
func (d *demo) gone(name string) error {
	dir := d.stateDir(name)
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state directory %s is still there", dir)
	}
	return nil
}

// ours are the directories of the demo's VMs: every QEMU of the demo has one of them in its command line.
func (d *demo) ours() ([]string, error) {
	var dirs []string
	for _, name := range []string{podName, envPodName, hostileName} {
		dir, err := filepath.Abs(d.stateDir(name))
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// noProcess checks that no process has one of the directories in its command line, and that this one has no child.
func noProcess(proc, self string, dirs []string) error {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") != "" || e.Name() == self {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(proc, e.Name(), "cmdline"))
		if err != nil {
			continue // it ended meanwhile
		}
		args := strings.Split(string(cmdline), "\x00")
		named := slices.ContainsFunc(args, func(arg string) bool { return isOurs(arg, dirs) })
		if named || parent(filepath.Join(proc, e.Name(), "stat")) == self {
			errs = append(errs, fmt.Errorf("process %s is still there: %s", e.Name(), abridge(strings.Join(args, " "))))
		}
	}
	return errors.Join(errs...)
}

// parent reads the parent's number from a process's stat: the second field after the name, which may hold anything.
func parent(stat string) string {
	data, err := os.ReadFile(stat)
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// noMount checks that nothing is mounted below the directories.
func noMount(mountinfo string, dirs []string) error {
	data, err := os.ReadFile(mountinfo)
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && isOurs(fields[4], dirs) {
			errs = append(errs, fmt.Errorf("%s is still mounted", fields[4]))
		}
	}
	return errors.Join(errs...)
}

// isOurs tells whether a text names one of the directories or something below it.
func isOurs(text string, dirs []string) bool {
	for _, dir := range dirs {
		if _, after, found := strings.Cut(text, dir); found && (after == "" || after[0] == '/') {
			return true
		}
	}
	return false
}
