package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// setting is one kernel setting and why it is not left at the kernel's default.
type setting struct {
	name, value string
}

// settings are written below /proc/sys. One that the kernel does not have is no failure: then it has no such function either.
var settings = []setting{
	{"kernel/sysrq", "0"},         // a BREAK on the serial line is the host's: no task or register dumps
	{"kernel/printk", "1"},        // kernel messages name processes and files; only a panic may reach the console
	{"kernel/panic_on_oops", "1"}, // a kernel that went wrong once is no longer part of what was measured
	{"kernel/kexec_load_disabled", "1"},
	{"kernel/dmesg_restrict", "1"},
	{"kernel/kptr_restrict", "2"},
	{"kernel/modprobe", ""}, // there is no modprobe; a workload must not make the kernel look for one
	{"kernel/unprivileged_bpf_disabled", "1"},
	{"fs/suid_dumpable", "0"},
	{"fs/protected_hardlinks", "1"}, // what systemd sets on any host; images expect it
	{"fs/protected_symlinks", "1"},
	{"fs/protected_fifos", "1"},
	{"fs/protected_regular", "2"},
}

func applySettings(root string) error {
	for _, s := range settings {
		if err := write(filepath.Join(root, s.name), s.value+"\n"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("set %s: %w", s.name, err)
		}
	}
	return nil
}

// write is os.WriteFile without O_CREAT, which turns a missing kernel file into a refusal.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// controllers are what containers are limited with.
var controllers = []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}

// enableControllers turns controllers on for the cgroups below root, one at a time: a single write with one that cannot be enabled
// enables none.
func enableControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	have := strings.Fields(string(available))
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			continue
		}
		if err := write(filepath.Join(root, "cgroup.subtree_control"), "+"+c); err != nil {
			return fmt.Errorf("enable cgroup controller %q: %w", c, err)
		}
	}
	return nil
}
