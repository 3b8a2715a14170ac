package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// ask sends one request and prints the whole answer: NETWORK ADDRESS METHOD PATH [BODY]. A leading "from-outside" has it come from an address of this guest
// that is not loopback, and asks at that address too.
func ask(args []string) error {
	if args[0] != "from-outside" {
		return askOn(args[0], args[1], nil, args[2:])
	}
	own, err := outsideAddress()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(args[2])
	if err != nil {
		return err
	}
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(own.String(), port), 5*time.Second); err == nil {
		conn.Close()
		fmt.Println("the listener answers on another address than loopback")
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return askOn(args[1], args[2], &net.TCPAddr{IP: own}, args[3:])
}

func askOn(network, address string, from net.Addr, args []string) error {
	body := ""
	if len(args) > 2 {
		body = args[2] // arguments after it only tell one container from another
	}
	dialer := net.Dialer{LocalAddr: from, Timeout: 5 * time.Second}
	conn, err := dialer.Dial(network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", args[0], args[1], len(body), body); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(conn, 4<<20))
	return err
}

func outsideAddress() (net.IP, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP, nil
		}
	}
	return nil, errors.New("no address beside loopback")
}

// give hands the descriptor of a directory to whoever connects: DIRECTORY SOCKET. It ends when that one has ended.
func give(args []string) error {
	if err := os.Remove(args[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: args[1], Net: "unix"})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	conn, err := listener.AcceptUnix()
	if err != nil {
		return err
	}
	const pathOnly = 0x200000 // O_PATH
	fd, err := syscall.Open(args[0], pathOnly|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(fd), nil); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// take gets a directory from a neighbour and asks at the socket in it: SOCKET NAME METHOD PATH [BODY].
func take(args []string) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: args[0], Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	rights := make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return err
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("got %d messages: %w", len(messages), err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return fmt.Errorf("got %d descriptors: %w", len(fds), err)
	}
	return askOn("unix", fmt.Sprintf("/proc/self/fd/%d/%s", fds[0], args[1]), nil, args[2:])
}

// contextFiles prints the files of the security context as one JSON object.
func contextFiles([]string) error {
	dir := os.Getenv("UVM_SECURITY_CONTEXT_DIR")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	files := map[string]string{}
	for _, e := range entries {
		files[e.Name()] = content(dir + "/" + e.Name())
	}
	return json.NewEncoder(os.Stdout).Encode(files)
}
