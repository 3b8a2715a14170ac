// Command probe is an init that uses everything in a guest image the way the agent does: it loads every module with
// what modules.dep and modules.softdep put before it, and runs the foreign programs. Each line it prints is one result.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	for _, m := range []struct{ target, fstype string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		report("mount "+m.target, unix.Mount(m.fstype, m.target, m.fstype, 0, ""))
	}
	modules()
	report("crun", run("/usr/bin/crun", "--version"))
	report("scratch", os.WriteFile("/tmp/scratch", make([]byte, 8<<20), 0o600))
	report("mke2fs", run("/sbin/mke2fs", "-q", "-b", "4096", "-O", "^has_journal,^resize_inode,sparse_super2",
		"-E", "num_backup_sb=0,lazy_itable_init=1,nodiscard", "/tmp/scratch"))
	fmt.Println("probe done")
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func report(what string, err error) {
	if err != nil {
		fmt.Printf("FAIL %s: %v\n", what, err)
		return
	}
	fmt.Printf("ok %s\n", what)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func modules() {
	lists, _ := filepath.Glob("/usr/lib/modules/*/modules.dep")
	if len(lists) != 1 {
		report("modules", fmt.Errorf("got %d files modules.dep, want 1", len(lists)))
		return
	}
	base := filepath.Dir(lists[0])
	deps, err := os.ReadFile(lists[0])
	report("modules.dep", err)
	paths := map[string]string{}
	soft := map[string][]string{}
	for line := range strings.Lines(string(deps)) {
		file, _, _ := strings.Cut(line, ":")
		paths[key(file)] = line
	}
	softdeps, err := os.ReadFile(base + "/modules.softdep")
	report("modules.softdep", err)
	for line := range strings.Lines(string(softdeps)) {
		fields := strings.Fields(line)
		soft[fields[1]] = fields[3:]
	}
	load := func(line string) error {
		file, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		order := append([]string{file}, strings.Fields(rest)...)
		for i := len(order) - 1; i >= 0; i-- {
			if err := insert(base + "/" + order[i]); err != nil {
				return fmt.Errorf("%s: %w", order[i], err)
			}
		}
		return nil
	}
	for line := range strings.Lines(string(deps)) {
		name := key(strings.SplitN(line, ":", 2)[0])
		for _, s := range soft[name] {
			if err := load(paths[s]); err != nil && !errors.Is(err, unix.ENODEV) {
				report("soft "+s, err)
			}
		}
		err := load(line)
		// No secure processor answers in this machine, and the processor may lack an instruction set.
		if errors.Is(err, unix.ENODEV) {
			fmt.Printf("ok module %s (ENODEV)\n", name)
			continue
		}
		report("module "+name, err)
	}
}

func key(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), ".ko"), "-", "_")
}

func insert(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
