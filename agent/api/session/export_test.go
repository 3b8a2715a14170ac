package session

import "io"

// What the tests outside the package need to speak broken frames.
const (
	FrameHello   = uint8(frameHello)
	FrameWelcome = uint8(frameWelcome)
	FrameData    = uint8(frameData)
	FrameClose   = uint8(frameClose)
	HeaderSize   = headerSize
)

// EncodeFrame is appendFrame.
func EncodeFrame(kind uint8, session uint64, payload []byte) []byte {
	return appendFrame(nil, frameType(kind), session, payload)
}

// Number returns the session number of a connection.
func Number(c io.Closer) uint64 { return c.(*conn).session }
