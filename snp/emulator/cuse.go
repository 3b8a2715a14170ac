package emulator

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// The part of the FUSE protocol (kernel header linux/fuse.h) that a character device needs. All numbers are in the machine's byte order.
const (
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opRelease   = 18
	opFlush     = 25
	opInterrupt = 36
	opDestroy   = 38
	opIoctl     = 39
	opPoll      = 40
	opCuseInit  = 4096

	fuseMajor = 7
	fuseMinor = 31

	inHeaderSize  = 40
	outHeaderSize = 16
	cuseInitSize  = 16
	ioctlInSize   = 32

	cuseUnrestrictedIoctl = 1 << 0
	ioctlRetry            = 1 << 2
	openNonSeekable       = 1 << 2

	// cuseMaxIO is what the device asks for reads and writes, which it does not have; cuseBuffer must hold that and a header.
	cuseMaxIO  = 64 << 10
	cuseBuffer = cuseMaxIO + 4096
)

// message is one request from the kernel.
type message struct {
	opcode uint32
	unique uint64
	body   []byte
}

func parseMessage(b []byte) (message, error) {
	if len(b) < inHeaderSize {
		return message{}, fmt.Errorf("cuse: got a message of %d bytes, want %d or more", len(b), inHeaderSize)
	}
	if size := binary.NativeEndian.Uint32(b); int(size) != len(b) {
		return message{}, fmt.Errorf("cuse: got %d bytes, want the %d of the header", len(b), size)
	}
	return message{
		opcode: binary.NativeEndian.Uint32(b[4:]),
		unique: binary.NativeEndian.Uint64(b[8:]),
		body:   b[inHeaderSize:],
	}, nil
}

// reply builds an answer: a payload, or a negative errno without one.
func (m message) reply(errno syscall.Errno, payload []byte) []byte {
	b := make([]byte, 0, outHeaderSize+len(payload))
	b = binary.NativeEndian.AppendUint32(b, uint32(outHeaderSize+len(payload)))
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	b = binary.NativeEndian.AppendUint64(b, m.unique)
	return append(b, payload...)
}

// initReply answers CUSE_INIT: the device's name, and that ioctls may name any address of the caller.
func (m message) initReply(device string) ([]byte, error) {
	if m.opcode != opCuseInit || len(m.body) < cuseInitSize {
		return nil, fmt.Errorf("cuse: got opcode %d with %d bytes first, want CUSE_INIT", m.opcode, len(m.body))
	}
	if major := binary.NativeEndian.Uint32(m.body); major != fuseMajor {
		return nil, fmt.Errorf("cuse: got protocol %d, want %d", major, fuseMajor)
	}
	var out bytes.Buffer
	for _, v := range []uint32{fuseMajor, fuseMinor, 0, cuseUnrestrictedIoctl, cuseMaxIO, cuseMaxIO, 0 /* any major */, 0 /* any minor */} {
		out.Write(binary.NativeEndian.AppendUint32(nil, v))
	}
	out.Write(make([]byte, 40)) // spare
	out.WriteString("DEVNAME=" + device + "\x00")
	return m.reply(0, out.Bytes()), nil
}

// handle answers one message of a device that is set up; nil means that the kernel wants no answer.
func (d *ioctlServer) handle(ctx context.Context, m message) []byte {
	switch m.opcode {
	case opOpen:
		out := binary.NativeEndian.AppendUint64(nil, 1)
		out = binary.NativeEndian.AppendUint32(out, openNonSeekable)
		return m.reply(0, binary.NativeEndian.AppendUint32(out, 0))
	case opRelease, opFlush:
		return m.reply(0, nil)
	case opRead, opWrite:
		return m.reply(syscall.EINVAL, nil) // the real driver has neither
	case opIoctl:
		return m.reply(0, d.ioctl(ctx, m.body))
	case opInterrupt, opDestroy:
		return nil
	}
	return m.reply(syscall.ENOSYS, nil)
}

// iovec is a piece of the caller's memory.
type iovec struct{ base, size uint64 }

// retry asks the kernel to call again with these pieces of the caller's memory: CUSE copies nothing it was not told of.
func retry(in, out []iovec) []byte {
	b := ioctlOut(0, ioctlRetry, len(in), len(out))
	for _, v := range append(in[:len(in):len(in)], out...) {
		b = binary.NativeEndian.AppendUint64(b, v.base)
		b = binary.NativeEndian.AppendUint64(b, v.size)
	}
	return b
}

// result ends an ioctl. The errno goes here and not into the header, so that what the kernel writes back beside an error, such as a certificate
// length, still reaches the caller.
func result(errno syscall.Errno, data []byte) []byte {
	return append(ioctlOut(-int32(errno), 0, 0, 0), data...)
}

func ioctlOut(result int32, flags, in, out int) []byte {
	b := make([]byte, 0, 64)
	for _, v := range []uint32{uint32(result), uint32(flags), uint32(in), uint32(out)} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

var errShortIoctl = errors.New("cuse: ioctl message too short")

// ioctlCall is the body of an ioctl message.
type ioctlCall struct {
	cmd     uint32
	arg     uint64
	outSize uint32
	data    []byte // what the kernel copied from the pieces asked for
}

func parseIoctl(b []byte) (ioctlCall, error) {
	if len(b) < ioctlInSize {
		return ioctlCall{}, errShortIoctl
	}
	c := ioctlCall{
		cmd:     binary.NativeEndian.Uint32(b[12:]),
		arg:     binary.NativeEndian.Uint64(b[16:]),
		outSize: binary.NativeEndian.Uint32(b[28:]),
		data:    b[ioctlInSize:],
	}
	if in := binary.NativeEndian.Uint32(b[24:]); int64(in) > int64(len(c.data)) {
		return ioctlCall{}, errShortIoctl
	} else {
		c.data = c.data[:in]
	}
	return c, nil
}
