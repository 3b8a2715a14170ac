package qemu

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/shim/vm"
)

// Names of what lies in a VM's directory. QEMU runs in that directory, so that the length of its path does not count against the
// 108 bytes of a socket's name.
func socketName(port int) string { return fmt.Sprintf("port%d.sock", port) }
func lockName(port int) string   { return fmt.Sprintf("port%d.lock", port) }

// qmpFD is the descriptor on which QEMU finds its control socket: the first of exec.Cmd's ExtraFiles.
const qmpFD = 3

// SNP launch parameters. The C-bit and the lost address bits are those of Milan, Genoa and Turin; the guest policy asks for an ABI any of them has, allows
// SMT (bit 16) and keeps debugging and migration agents off. The processor model is part of what is measured.
const (
	snpCPU    = "EPYC-v4"
	snpPolicy = "0x30000"
)

// Args returns QEMU's command line for c, without the program. An empty Accel means TCG.
func Args(c vm.Config) []string {
	var a args
	a.add("-name", "cloister-"+escape(c.ID))
	a.add("-no-user-config", "-nodefaults", "-no-reboot")
	a.add("-display", "none")
	a.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	a.machine(c)
	a.add("-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.Cmdline)
	if c.Firmware != "" {
		a.add("-bios", c.Firmware)
	}
	a.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control")
	a.add("-chardev", "file,id=console,append=on,path="+escape(c.Console), "-serial", "chardev:console")
	a.devices(c)
	return a
}

type args []string

func (a *args) add(s ...string) { *a = append(*a, s...) }

// machine is a q35 with nothing on it that a container needs no driver for: each device left out is one the firmware and the kernel do not probe.
func (a *args) machine(c vm.Config) {
	machine := "q35,hpet=off,smm=off,sata=off,smbus=off,usb=off,i8042=off,vmport=off,graphics=off,dump-guest-core=off,mem-merge=off"
	memory := fmt.Sprintf("%dM", c.MemoryMiB)
	switch {
	case c.TEE == vm.TEESNP:
		a.add("-machine", machine+",confidential-guest-support=sev0,memory-backend=ram0", "-accel", "kvm", "-cpu", snpCPU)
		a.add("-object", "memory-backend-memfd,id=ram0,share=on,size="+memory)
		// kernel-hashes puts kernel, initrd and command line into the launch digest through the firmware.
		a.add("-object", fmt.Sprintf("sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=%s,kernel-hashes=on,host-data=%s%s",
			snpPolicy, base64.StdEncoding.EncodeToString(c.HostData[:]), launchID(c.LaunchID)))
	case c.Accel == "kvm":
		a.add("-machine", machine, "-accel", "kvm", "-cpu", "host")
	default:
		a.add("-machine", machine, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	a.add("-smp", fmt.Sprint(c.VCPUs), "-m", memory)
}

// launchID is the part of an SNP launch that a signer's ID block adds.
func launchID(l *vm.LaunchID) string {
	if l == nil {
		return ""
	}
	author := "off"
	if l.AuthorKey {
		author = "on"
	}
	return fmt.Sprintf(",id-block=%s,id-auth=%s,author-key-enabled=%s", base64.StdEncoding.EncodeToString(l.Block), base64.StdEncoding.EncodeToString(l.Auth), author)
}

func (a *args) devices(c vm.Config) {
	// An SNP guest's memory is closed to the host: devices must go through the guest's bounce buffers.
	virtio := ",disable-legacy=on"
	if c.TEE == vm.TEESNP {
		virtio += ",iommu_platform=on"
	}
	a.add("-device", "virtio-scsi-pci,id=scsi0"+virtio)
	a.add("-device", fmt.Sprintf("virtio-serial-pci,id=serial0,max_ports=%d%s", vm.Ports+1, virtio))
	for port := range vm.Ports {
		a.add("-chardev", fmt.Sprintf("socket,id=port%d,server=on,wait=off,path=%s", port, socketName(port)))
		// Port 0 of the bus is reserved for a console.
		a.add("-device", fmt.Sprintf("virtserialport,bus=serial0.0,nr=%d,chardev=port%d,name=%s", port+1, port, vm.PortName(port)))
	}
	a.disk("tee", c.TEEDisk, ",serial="+vm.TEEDiskSerial+virtio)
	a.disk("initdata", c.InitdataDisk, virtio)
	if c.Network {
		netdev := "user,id=net0"
		for _, f := range c.Forward {
			host := f.HostIP
			if host == "" {
				host = "127.0.0.1"
			}
			netdev += fmt.Sprintf(",hostfwd=tcp:%s:%d-:%d", host, f.HostPort, f.GuestPort)
		}
		// No boot ROM: nothing is ever booted from the network.
		a.add("-netdev", netdev, "-device", "virtio-net-pci,netdev=net0,romfile=,mac="+vm.MAC+virtio)
	}
}

func (a *args) disk(name, path, options string) {
	if path == "" {
		return
	}
	a.add("-blockdev", fmt.Sprintf("driver=raw,node-name=%s,read-only=on,file.driver=file,file.filename=%s", name, escape(path)))
	a.add("-device", fmt.Sprintf("virtio-blk-pci,id=%s,drive=%s%s", name, name, options))
}

// escape protects a value inside QEMU's comma-separated options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
