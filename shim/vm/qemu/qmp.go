package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one line of QMP. The longest we ask for is the list of 255 processors, some 50 KiB; the greeting has 200 bytes.
const maxMessage = 256 << 10

// qmp is a client for QEMU's control socket: commands that are answered in turn, and the two events that are waited for.
type qmp struct {
	conn    net.Conn
	writing sync.Mutex    // one line at a time; never held together with mu, which the reader needs
	passing sync.Mutex    // one descriptor at a time, until QEMU has answered
	done    chan struct{} // the socket has ended

	mu       sync.Mutex
	next     uint64
	pending  map[uint64]chan message
	deleted  map[string]chan struct{} // device id -> closed by DEVICE_DELETED
	shutdown string                   // reason of the SHUTDOWN event
	err      error                    // why the socket ended
}

// message is every shape a line from QEMU can have.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`
	Event  string          `json:"event"`
	Data   struct {
		Device string `json:"device"`
		Reason string `json:"reason"`
	} `json:"data"`
}

// qmpError is a command QEMU refused.
type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return fmt.Sprintf("%s: %s", e.Class, e.Desc) }

var errMonitorGone = errors.New("the control socket ended")

// newQMP reads the greeting and leaves negotiation mode.
func newQMP(ctx context.Context, conn net.Conn) (*qmp, error) {
	q := &qmp{
		conn: conn, done: make(chan struct{}),
		pending: map[uint64]chan message{}, deleted: map[string]chan struct{}{},
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	lines := bufio.NewReaderSize(conn, maxMessage)
	m, err := readMessage(lines)
	if err == nil && m.QMP == nil {
		err = errors.New("got no greeting")
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("read qmp greeting: %w", err)
	}
	go q.receive(lines)
	return q, q.execute(ctx, "qmp_capabilities", nil)
}

func readMessage(r *bufio.Reader) (message, error) {
	var m message
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return m, fmt.Errorf("qmp message: got more than %d bytes", maxMessage)
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("qmp message: %w", err)
	}
	return m, nil
}

func (q *qmp) receive(r *bufio.Reader) {
	for {
		m, err := readMessage(r)
		q.mu.Lock()
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				err = errMonitorGone
			}
			q.err = err
			q.mu.Unlock()
			close(q.done)
			return
		}
		switch {
		case m.Event == "DEVICE_DELETED":
			if c := q.deleted[m.Data.Device]; c != nil {
				delete(q.deleted, m.Data.Device)
				close(c)
			}
		case m.Event == "SHUTDOWN":
			q.shutdown = m.Data.Reason
		case m.ID != nil && q.pending[*m.ID] != nil:
			q.pending[*m.ID] <- m // one reply an id, and room for it
			delete(q.pending, *m.ID)
		}
		q.mu.Unlock()
	}
}

// execute runs one command. A nil error means QEMU has done it; a context that ends leaves it open whether it did.
func (q *qmp) execute(ctx context.Context, command string, arguments any) error {
	_, err := q.ask(ctx, command, arguments)
	return err
}

// ask is execute for a command whose answer counts.
func (q *qmp) ask(ctx context.Context, command string, arguments any) (json.RawMessage, error) {
	return q.askFor(ctx, command, arguments, nil)
}

// pass is execute for a command that takes a descriptor along. The file stays ours.
func (q *qmp) pass(ctx context.Context, command string, arguments any, file *os.File) error {
	q.passing.Lock()
	defer q.passing.Unlock()
	_, err := q.askFor(ctx, command, arguments, file)
	return err
}

func (q *qmp) askFor(ctx context.Context, command string, arguments any, file *os.File) (json.RawMessage, error) {
	reply := make(chan message, 1)
	q.mu.Lock()
	id := q.next
	q.next++
	q.pending[id] = reply
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.pending, id)
	}()
	if err := q.send(command, arguments, id, file); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case m := <-reply:
		if m.Error != nil {
			return nil, fmt.Errorf("qmp %s: %w", command, m.Error)
		}
		return m.Return, nil
	case <-q.done:
		return nil, fmt.Errorf("qmp %s: %w", command, q.ended())
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", command, ctx.Err())
	}
}

func (q *qmp) send(command string, arguments any, id uint64, file *os.File) error {
	line, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return err
	}
	q.writing.Lock()
	defer q.writing.Unlock()
	line = append(line, '\n')
	if file == nil {
		_, err = q.conn.Write(line)
		return err
	}
	return sendWith(q.conn, line, file)
}

// sendWith writes a line of which the first byte carries a descriptor.
func sendWith(conn net.Conn, line []byte, file *os.File) error {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T takes no descriptors", conn)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var sent error
	err = raw.Control(func(fd uintptr) { n, _, sent = socket.WriteMsgUnix(line, unix.UnixRights(int(fd)), nil) })
	if err := errors.Join(err, sent); err != nil {
		return err
	}
	_, err = conn.Write(line[n:]) // a stream may take less than all of it
	return err
}

// watchDeleted must be called before the device is asked to go: the event can precede the reply.
func (q *qmp) watchDeleted(device string) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.deleted[device]
	if c == nil {
		c = make(chan struct{})
		q.deleted[device] = c
	}
	return c
}

func (q *qmp) forgetDeleted(device string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.deleted, device)
}

func (q *qmp) ended() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// shutdownReason is what QEMU said it ended for, or "".
func (q *qmp) shutdownReason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.shutdown
}

func (q *qmp) close() error {
	err := q.conn.Close()
	<-q.done
	return err
}
