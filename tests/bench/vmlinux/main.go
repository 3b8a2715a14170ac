// Command vmlinux prints where the kernel of a guest image lies unpacked: emulation boots it in half the time. The containerd tests call it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/guest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vmlinux GUEST-IMAGE")
		os.Exit(2)
	}
	path, err := guest.VMLinux(filepath.Join(os.Args[1], "vmlinuz"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmlinux: "+err.Error())
		os.Exit(1)
	}
	fmt.Println(path)
}
