package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const kvmNode = "/dev/kvm"

// kvmDeadline is how long the probe's guest may take. Where KVM works a kernel without an initrd gives up within a second.
const kvmDeadline = 5 * time.Second

// kvmAnswer is remembered between runs, for one boot of the host and one QEMU.
type kvmAnswer struct {
	BootID  string `json:"boot_id"`
	Program string `json:"program"`
	Works   bool   `json:"works"`
}

// kvmWorks finds out whether a real kernel gets through its boot under KVM. That /dev/kvm is there and makes VMs says little: under nested
// virtualisation kernels are known to hang early. What cannot be found out counts as no, since TCG always works.
func kvmWorks(ctx context.Context, kernel string) bool {
	f, err := os.OpenFile(kvmNode, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	question, err := kvmQuestion()
	if err != nil {
		return false
	}
	memory := kvmMemory()
	if known, ok := recall(memory, question); ok {
		return known
	}
	works := probeKVM(ctx, kernel)
	if ctx.Err() == nil { // a cancelled probe has no answer
		question.Works = works
		remember(memory, question)
	}
	return works
}

func kvmQuestion() (kvmAnswer, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return kvmAnswer{}, err
	}
	path, err := exec.LookPath(Program)
	if err != nil {
		return kvmAnswer{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return kvmAnswer{}, err
	}
	return kvmAnswer{
		BootID:  strings.TrimSpace(string(id)),
		Program: fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().Unix()),
	}, nil
}

// probeKVM boots kernel with no root: it panics for want of one, reboots, and that ends QEMU.
func probeKVM(ctx context.Context, kernel string) bool {
	ctx, cancel := context.WithTimeout(ctx, kvmDeadline)
	defer cancel()
	p, err := spawn(child{args: []string{
		"-name", "cloister-kvm-probe", "-no-user-config", "-nodefaults", "-no-reboot", "-display", "none",
		"-machine", "q35,usb=off,sata=off,smbus=off", "-accel", "kvm", "-cpu", "host", "-m", "256M",
		"-kernel", kernel, "-append", "quiet panic=-1 reboot=t",
	}})
	if err != nil {
		return false
	}
	select {
	case <-p.done:
		return p.err == nil
	case <-ctx.Done():
		_ = p.kill()
		<-p.done
		return false
	}
}

// kvmMemory is the file that keeps the answer, or "" without a cache directory.
func kvmMemory() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "cloister", "kvm.json")
}

func recall(path string, question kvmAnswer) (works, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return false, false
	}
	var a kvmAnswer
	if json.Unmarshal(b, &a) != nil || a.BootID != question.BootID || a.Program != question.Program {
		return false, false
	}
	return a.Works, true
}

// remember does what it can: without the file the next start asks again.
func remember(path string, answer kvmAnswer) {
	b, err := json.Marshal(answer)
	if err != nil || path == "" || os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(path), "kvm-*")
	if err != nil {
		return
	}
	_, werr := f.Write(b)
	if cerr := f.Close(); werr != nil || cerr != nil || os.Rename(f.Name(), path) != nil {
		_ = os.Remove(f.Name())
	}
}
