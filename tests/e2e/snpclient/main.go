// Command snpclient takes the agent's place in the development image for the tests of the report interfaces: as PID 1 it plays the scenarios of a tar
// archive that the host attached as a disk. Each is a parameter disk of the software SNP processor; the program serves it, asks through
// go-sev-guest's client, unmodified, and through ours, by both interfaces, and prints a line of JSON a scenario and way to the console. Then it
// switches the machine off.
package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is where the archive is: the machine has no other.
const disk = "/dev/vda"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Printf("snpclient: FAIL %v\n", err)
	}
	fmt.Println("snpclient: done")
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("snpclient: power off:", err)
	}
}

func run(ctx context.Context) error {
	// go-sev-guest waits two seconds between requests unless told not to.
	if err := flag.Set("self_throttle_duration", "0s"); err != nil {
		return err
	}
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.MkdirAll("/scenario", 0o700); err != nil {
		return err
	}
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join("/scenario", filepath.Base(h.Name))
		params, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, params, 0o600); err != nil {
			return err
		}
		if err := play(ctx, h.Name, path); err != nil {
			return fmt.Errorf("scenario %q: %w", h.Name, err)
		}
	}
}

// plainPrefix begins the names of scenarios without a script: they need not a processor a way, and one ask says all.
const plainPrefix = "plain "

// play runs a scenario once a way. Fault scripts count requests, so with one each way has a processor of its own.
func play(ctx context.Context, name, path string) (err error) {
	var server *server
	plain := strings.HasPrefix(name, plainPrefix)
	asks := 3 // with a script, the later ones show what stays
	if plain {
		asks = 1
	}
	for i, w := range ways {
		if i == 0 || !plain {
			if err := server.stop(); err != nil {
				return err
			}
			if server, err = serve(path); err != nil {
				return err
			}
		}
		files, left := openFiles(), entries()
		r := w.run(ctx, asks)
		r.Scenario, r.Way, r.Files, r.Entries = name, w.name, openFiles()-files, entries()-left
		line, err := json.Marshal(r)
		if err != nil {
			return errors.Join(err, server.stop())
		}
		fmt.Printf("snpclient: %s\n", line)
	}
	return server.stop()
}

func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(list)
}

// entries counts what is left of configfs-tsm; there is none in a scenario without the tree.
func entries() int {
	list, err := os.ReadDir("/sys/kernel/config/tsm/report")
	if err != nil {
		return 0
	}
	return len(list)
}
