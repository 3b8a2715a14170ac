package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/guest"
	podrun "github.com/cloister-cc/cloister/shim/run"
	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/shim/vm/qemu"
)

const (
	helloPath = "hello"
	helloLine = "ready"
	// messagePrefix begins each of the agent's messages on the console.
	messagePrefix = "cloister: "
	// bootLimit bounds one boot; under emulation it takes some three seconds.
	bootLimit = time.Minute
)

// measureBoot boots the production image, by turns with the agent as PID 1 and with a hello-world. Both VMs get the same bytes: the
// initrd holds the hello-world besides everything else, and the kernel's command line alone says which program is run.
func measureBoot(ctx context.Context, b *bench) error {
	base, err := b.bootConfig(ctx)
	if err != nil {
		return err
	}
	var agent, hello sample
	phases := map[string]*sample{}
	var order []string
	for i := range b.runs.boot + 1 {
		ways := []func() error{
			func() error {
				took, said, err := b.bootAgent(ctx, base)
				if err != nil || i == 0 {
					return err
				}
				agent.addDuration(took)
				for _, line := range said {
					// The firmware leaves its last line open, so the first message comes after it.
					_, text, ours := strings.Cut(line.text, messagePrefix)
					if !ours {
						continue
					}
					if phases[text] == nil {
						phases[text] = &sample{}
						order = append(order, text)
					}
					phases[text].addDuration(line.at)
				}
				return nil
			},
			func() error {
				took, err := b.bootHello(ctx, base)
				if err != nil || i == 0 { // the first round warms the page cache
					return err
				}
				hello.addDuration(took)
				return nil
			},
		}
		if i%2 == 1 {
			ways[0], ways[1] = ways[1], ways[0]
		}
		for _, way := range ways {
			if err := way(); err != nil {
				return err
			}
		}
	}
	b.addRatio("boot_ratio", agent, hello, "hello-world init "+brief(hello.median()), atMost(1.35))
	b.add("boot_ms", agent, "ms", "hello-world init "+brief(hello.median()), target{})
	progress("boot, medians from the start of QEMU; the agent's messages as they arrive on the console:")
	progress("  %-60s %8.0f ms", "hello-world: "+helloLine, hello.median())
	for _, text := range order {
		progress("  %-60s %8.0f ms", text, phases[text].median())
	}
	progress("  %-60s %8.0f ms", "first answer", agent.median())
	return nil
}

// bootConfig makes the image and says how to boot it; the caller adds what differs.
func (b *bench) bootConfig(ctx context.Context) (vm.Config, error) {
	image, err := b.image(ctx, false, agentPackage)
	if err != nil {
		return vm.Config{}, err
	}
	program, err := b.program(ctx, helloPackage)
	if err != nil {
		return vm.Config{}, err
	}
	hello, err := os.ReadFile(program)
	if err != nil {
		return vm.Config{}, err
	}
	initrd, err := os.ReadFile(filepath.Join(image, guest.FileInitrd))
	if err != nil {
		return vm.Config{}, err
	}
	// The kernel unpacks archives one after the other; one that is not compressed must come first.
	both := filepath.Join(b.scratch, "initrd-with-hello")
	if err := os.WriteFile(both, append(archive(helloPath, hello), initrd...), 0o600); err != nil {
		return vm.Config{}, err
	}
	kernel, err := guest.VMLinux(filepath.Join(image, guest.FileKernel))
	if err != nil {
		return vm.Config{}, err
	}
	line, err := os.ReadFile(filepath.Join(image, guest.FileCmdline))
	if err != nil {
		return vm.Config{}, err
	}
	return vm.Config{
		ID: "bench", Kernel: kernel, Initrd: both, Cmdline: strings.TrimSpace(string(line)), TEE: vm.TEENone,
		VCPUs: podrun.DefaultVCPUs, MemoryMiB: podrun.DefaultMemoryMiB, Accel: "tcg",
	}, nil
}

// archive is a cpio archive (newc) of one program.
func archive(name string, data []byte) []byte {
	var out []byte
	pad := func() {
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	entry := func(name string, mode int, data []byte) {
		out = fmt.Appendf(out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
		pad()
		out = append(out, data...)
		pad()
	}
	entry(name, 0o100755, data)
	entry("TRAILER!!!", 0, nil)
	return out
}

// bootAgent returns how long the first answer took, and when the console said what.
func (b *bench) bootAgent(ctx context.Context, c vm.Config) (_ time.Duration, _ []saidLine, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	console, err := b.openConsole(&c)
	if err != nil {
		return 0, nil, err
	}
	defer console.close()
	begin := time.Now()
	machine, err := qemu.Start(ctx, c)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, machine.Stop(context.WithoutCancel(ctx))) }()
	conn, err := machine.Dial(ctx, 0)
	if err != nil {
		return 0, nil, err
	}
	client := podrun.NewClient(conn)
	defer client.Close()
	if err := client.Check(ctx); err != nil {
		return 0, nil, err
	}
	return time.Since(begin), console.said(begin), nil
}

// bootHello returns how long it took until the console said that hello runs.
func (b *bench) bootHello(ctx context.Context, c vm.Config) (_ time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	c.Cmdline += " rdinit=/" + helloPath
	console, err := b.openConsole(&c)
	if err != nil {
		return 0, err
	}
	defer console.close()
	begin := time.Now()
	machine, err := qemu.Start(ctx, c)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, machine.Stop(context.WithoutCancel(ctx))) }()
	at, err := console.await(ctx, helloLine)
	return at.Sub(begin), err
}
