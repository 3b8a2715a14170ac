// Package session gives a virtio-serial port what it lacks: connections.
//
// A virtio-serial port is one byte stream for the life of the VM. The guest does not see a host client leave and
// another arrive, so a ttrpc connection on the bare port survives its peer: bytes of a cut message are completed by the next
// client's first message, and since ttrpc stream ids restart at 1, a reply meant for the old client can be taken for one
// by the new client. Below ttrpc therefore lies a frame of
//
//	magic    4 bytes
//	type     1 byte: HELLO, WELCOME, DATA, CLOSE
//	reserved 3 bytes, zero
//	session  8 bytes, big endian, chosen at random by the dialler
//	length   4 bytes, big endian
//	payload  length bytes
//	trailer  4 bytes, none of them zero
//
// and never longer than 32 KiB as a whole. The dialler first sends 32 KiB of zeros, which completes whatever frame its predecessor
// left half-written, then HELLO with a new session, and throws away what it reads until the WELCOME of that very session. In the
// guest a HELLO ends the connection before it; frames of any other session are dropped. The trailer tells a frame that was
// written whole from one that was completed by zeros: the latter is dropped and never reaches ttrpc, else a request cut in
// the middle would run with zeros for its second half.
//
// # Trust
//
// Everything that arrives at the guest is the host's word. The decoder keeps one buffer of a frame's size, allocates
// nothing by length, and looks at each byte once when it has to find its place again. Bytes inside a frame's payload are never searched for
// frames, so data the host forwards for somebody else (a file, a container's stdin) cannot open or end a session. A
// malformed frame is dropped; the worst the host can do is deny itself service.
//
// The end of a client is not an event for the guest: the kernel's word on it arrives on another queue than the data, so acting on it could end
// the session of the next client. A session ends with CLOSE, with the next HELLO, or with its listener.
package session
