package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// What follows knows crun from the inside; the image's lock pins its version (docs/adr/0010-crun-sealed-and-released.md).

// sealRuntime puts the runtime's program into memory that nobody can change any more and returns a path to it. crun protects itself from being
// overwritten by the container it starts (CVE-2019-5736) by copying and executing itself again, twice in an initramfs; a program that is sealed
// already it leaves alone. A program that is not there stays a name: the first container will say so.
func sealRuntime(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return name, nil
	}
	src, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open container runtime: %w", err)
	}
	defer src.Close()
	fd, err := unix.MemfdCreate("crun", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", fmt.Errorf("make sealed copy of the container runtime: %w", err)
	}
	sealed := os.NewFile(uintptr(fd), "crun")
	if _, err := io.Copy(sealed, src); err != nil {
		sealed.Close()
		return "", fmt.Errorf("copy container runtime: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		sealed.Close()
		return "", fmt.Errorf("seal container runtime: %w", err)
	}
	sealedRuntimes = append(sealedRuntimes, sealed)
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// sealedRuntimes keeps the descriptors for the life of the process: the path above is one of them.
var sealedRuntimes []*os.File

// releaseInit does what "crun start" does, without starting crun: the created init waits for a byte on a FIFO of its state directory. It says
// whether there was one; a container that is gone is an error.
func releaseInit(state string) (bool, error) {
	fifo := filepath.Join(state, "exec.fifo")
	fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, &RuntimeError{Op: "start", Reason: "the container's init is gone", Detail: err.Error(), Err: ErrUnknownOutcome}
	}
	defer unix.Close(fd)
	if err := unix.Unlink(fifo); err != nil {
		return false, &RuntimeError{Op: "start", Reason: "failed", Detail: err.Error(), Err: ErrUnknownOutcome}
	}
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return false, &RuntimeError{Op: "start", Reason: "the container's init is gone", Detail: err.Error(), Err: ErrUnknownOutcome}
	}
	return true, nil
}
