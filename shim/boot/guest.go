package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Guest are the parts of a guest build that a boot needs.
type Guest struct {
	Kernel, Initrd string // paths
	Cmdline        string // the kernel's command line
}

// OpenGuest finds them in a directory that `cloister guest build` wrote.
func OpenGuest(dir string) (Guest, error) {
	g := Guest{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd.img")}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return Guest{}, fmt.Errorf("open guest image: %w", err)
	}
	g.Cmdline = strings.TrimSuffix(string(line), "\n")
	for _, path := range []string{g.Kernel, g.Initrd} {
		if _, err := os.Stat(path); err != nil {
			return Guest{}, fmt.Errorf("open guest image: %w", err)
		}
	}
	return g, nil
}
