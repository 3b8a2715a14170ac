package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write writes a file and the directories above it.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNoProcess(t *testing.T) {
	dirs := []string{"/src/out/demo/vm-demo", "/src/out/demo/vm-env"}
	cases := []struct {
		name, cmdline, stat string
		want                bool // a leftover
	}{
		{"ours", "qemu-system-x86_64\x00-chardev\x00file,path=/src/out/demo/vm-env/console.log\x00", "10 (qemu) S 1 10", true},
		{"ours-by-directory", "cloister\x00--state-dir\x00/src/out/demo/vm-demo\x00", "10 (cloister) S 1 10", true},
		{"our-child", "", "10 (a) b) Z 77 10", true},
		{"another-pod", "qemu-system-x86_64\x00file,path=/src/out/demo/vm-demo2/console.log\x00", "10 (qemu) S 1 10", false},
		{"same-guest", "qemu-system-x86_64\x00-initrd\x00/src/out/guest/initrd.img\x00", "10 (qemu) S 1 10", false},
		{"kernel-thread", "", "10 (77) S 2 0", false},
		{"broken-stat", "", "10", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			proc := t.TempDir()
			write(t, filepath.Join(proc, "10", "cmdline"), c.cmdline)
			write(t, filepath.Join(proc, "10", "stat"), c.stat)
			write(t, filepath.Join(proc, "77", "cmdline"), "demo\x00/src/out/demo/vm-demo\x00") // the demo itself
			write(t, filepath.Join(proc, "sys", "cmdline"), "/src/out/demo/vm-demo")
			if err := noProcess(proc, "77", dirs); (err != nil) != c.want {
				t.Errorf("got %v, want a leftover: %v", err, c.want)
			}
		})
	}
}

func TestNoMount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mountinfo")
	const other = "22 1 0:20 / /proc rw - proc proc rw\n30 1 0:20 / /src/out/demo/vm-other rw - tmpfs x rw\n"
	write(t, path, other)
	dirs := []string{"/src/out/demo/vm-demo"}
	if err := noMount(path, dirs); err != nil {
		t.Error(err)
	}
	write(t, path, other+"31 1 0:21 / /src/out/demo/vm-demo/layer rw - tmpfs x rw\n")
	if err := noMount(path, dirs); err == nil || !strings.Contains(err.Error(), "/src/out/demo/vm-demo/layer") {
		t.Errorf("got %v, want the mount named", err)
	}
}
