package qemu

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/shim/vm"
)

// Names of what lies in a VM's directory.
func socketName(port int) string { return fmt.Sprintf("port%d.sock", port) }
func lockName(port int) string   { return fmt.Sprintf("port%d.lock", port) }

// SNP launch parameters. The C-bit and the lost address bits are those of Milan, Genoa and Turin; the guest policy asks for an ABI any of them has, allows
// SMT (bit 16) and keeps debugging and migration agents off. The processor model is part of what is measured.
const (
	snpCPU    = "EPYC-v4"
	snpPolicy = "0x30000"
)

// arguments returns QEMU's command line for c, without the program. An empty Accel means TCG.
func arguments(c vm.Config, f fds) []string {
	var a args
	a.add("-name", "cloister-"+escape(c.ID))
	a.add("-no-user-config", "-nodefaults", "-no-reboot")
	a.add("-display", "none")
	a.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	a.machine(c, f)
	a.add("-kernel", self(f.kernel), "-initrd", self(f.initrd), "-append", c.Cmdline)
	if f.firmware != 0 {
		a.add("-bios", self(f.firmware))
	}
	a.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", f.qmp), "-mon", "chardev=qmp,mode=control")
	a.add("-chardev", "file,id=console,append=on,path="+a.set("console", f.console), "-serial", "chardev:console")
	a.devices(c, f)
	return a
}

// self is the path by which QEMU reopens a descriptor of its own.
func self(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// set puts a descriptor into a set of QEMU's and returns the path that stands for it: no file is opened anew, so no right on it is needed.
func (a *args) set(name string, fd int) string {
	a.add("-add-fd", fmt.Sprintf("fd=%d,set=%d,opaque=%s", fd, fd, name))
	return fmt.Sprintf("/dev/fdset/%d", fd)
}

type args []string

func (a *args) add(s ...string) { *a = append(*a, s...) }

// machine is a q35 with nothing on it that a container needs no driver for: each device left out is one the firmware and the kernel do not probe.
func (a *args) machine(c vm.Config, f fds) {
	machine := "q35,hpet=off,smm=off,sata=off,smbus=off,usb=off,i8042=off,vmport=off,graphics=off,dump-guest-core=off,mem-merge=off"
	memory := fmt.Sprintf("%dM", c.MemoryMiB)
	kvm := "kvm"
	if f.kvm != 0 {
		kvm += ",device=" + a.set("kvm", f.kvm)
	}
	switch {
	case c.TEE == vm.TEESNP:
		a.add("-machine", machine+",confidential-guest-support=sev0,memory-backend=ram0", "-accel", kvm, "-cpu", snpCPU)
		a.add("-object", "memory-backend-memfd,id=ram0,share=on,size="+memory)
		// kernel-hashes puts kernel, initrd and command line into the launch digest through the firmware.
		a.add("-object", fmt.Sprintf("sev-snp-guest,id=sev0,cbitpos=51,reduced-phys-bits=1,policy=%s,kernel-hashes=on,host-data=%s%s",
			snpPolicy, base64.StdEncoding.EncodeToString(c.HostData[:]), launchID(c.LaunchID)))
	case c.Accel == "kvm":
		a.add("-machine", machine, "-accel", kvm, "-cpu", "host")
	default:
		a.add("-machine", machine, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	a.add("-smp", processors(c), "-m", memoryOf(c))
}

// processors is as many as there are, and as many as can be.
func processors(c vm.Config) string {
	if c.MaxVCPUs <= c.VCPUs {
		return fmt.Sprint(c.VCPUs)
	}
	return fmt.Sprintf("cpus=%d,maxcpus=%d", c.VCPUs, c.MaxVCPUs)
}

// memoryOf is likewise. The guest takes memory in whole blocks, so the most is so many above what there is.
func memoryOf(c vm.Config) string {
	if c.MaxMemoryMiB <= c.MemoryMiB {
		return fmt.Sprintf("%dM", c.MemoryMiB)
	}
	return fmt.Sprintf("size=%dM,slots=%d,maxmem=%dM", c.MemoryMiB, memorySlots, c.MemoryMiB+blocks(c.MemoryMiB, c.MaxMemoryMiB-c.MemoryMiB))
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

func (a *args) devices(c vm.Config, f fds) {
	// An SNP guest's memory is closed to the host: devices must go through the guest's bounce buffers.
	virtio := ",disable-legacy=on"
	if c.TEE == vm.TEESNP {
		virtio += ",iommu_platform=on"
	}
	a.add("-device", "virtio-scsi-pci,id=scsi0"+virtio)
	if f.vsock != 0 {
		a.add("-device", fmt.Sprintf("vhost-vsock-pci,id=vsock0,guest-cid=%d,vhostfd=%d%s", f.cid, f.vsock, virtio))
	} else {
		a.ports(f.ports, virtio)
	}
	a.disk("tee", f.teeDisk, ",serial="+vm.TEEDiskSerial+virtio)
	a.disk("initdata", f.initdata, virtio)
	if c.Network {
		a.userNetwork(c, virtio)
	}
	for i, t := range c.Taps {
		mtu := ""
		if t.MTU != 0 {
			mtu = fmt.Sprintf(",host_mtu=%d", t.MTU)
		}
		a.add("-netdev", fmt.Sprintf("tap,id=tap%d,fd=%d", i, f.taps[i]))
		a.add("-device", fmt.Sprintf("virtio-net-pci,netdev=tap%d,romfile=,mac=%s%s%s", i, t.MAC, mtu, virtio))
	}
}

// ports are QEMU's ends of sockets that already listen.
func (a *args) ports(listening []int, virtio string) {
	a.add("-device", fmt.Sprintf("virtio-serial-pci,id=serial0,max_ports=%d%s", vm.Ports+1, virtio))
	for port, fd := range listening {
		a.add("-chardev", fmt.Sprintf("socket,id=port%d,server=on,wait=off,fd=%d", port, fd))
		// Port 0 of the bus is reserved for a console.
		a.add("-device", fmt.Sprintf("virtserialport,bus=serial0.0,nr=%d,chardev=port%d,name=%s", port+1, port, vm.PortName(port)))
	}
}

func (a *args) userNetwork(c vm.Config, virtio string) {
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

func (a *args) disk(name string, fd int, options string) {
	if fd == 0 {
		return
	}
	path := a.set(name, fd)
	a.add("-blockdev", fmt.Sprintf("driver=raw,node-name=%s,read-only=on,file.driver=file,file.filename=%s", name, path))
	a.add("-device", fmt.Sprintf("virtio-blk-pci,id=%s,drive=%s%s", name, name, options))
}

// escape protects a value inside QEMU's comma-separated options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
