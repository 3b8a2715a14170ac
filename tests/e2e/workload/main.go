// Command workload is what the test containers run: one small static program, so that the suite needs no distribution's image.
// The first argument chooses what it does; what it sees of its own confinement it prints as JSON.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// modes by name; each gets the arguments after its own.
var modes = map[string]func(args []string) error{
	"ask":           ask,
	"cat":           cat,
	"check":         check,
	"echo":          echo,
	"context":       securityContext,
	"context-files": contextFiles,
	"env":           env,
	"exit":          exit,
	"fill":          fill,
	"get":           get,
	"give":          give,
	"hash":          hash,
	"hog":           hog,
	"inspect":       inspect,
	"list":          list,
	"post":          post,
	"read":          read,
	"serve":         serve,
	"sleep":         sleep,
	"spam":          spam,
	"take":          take,
	"try":           try,
	"write":         write,
}

func main() {
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "workload: no such mode")
		os.Exit(2)
	}
	if err := modes[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}

func echo(args []string) error {
	fmt.Println(strings.Join(args, " "))
	return nil
}

func env([]string) error {
	for _, entry := range os.Environ() {
		fmt.Println(entry)
	}
	return nil
}

// securityContext prints the digest of the policy that the container was given, and what becomes of a write beside it.
func securityContext([]string) error {
	dir := os.Getenv("UVM_SECURITY_CONTEXT_DIR")
	text, err := os.ReadFile(dir + "/security-policy-base64")
	if err != nil {
		return err
	}
	policy, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", sha256.Sum256(policy))
	for _, name := range []string{"/new", "/security-policy-base64"} {
		f, err := os.OpenFile(dir+name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			f.Close()
		}
		fmt.Println(errors.Is(err, syscall.EROFS))
	}
	return nil
}

func exit(args []string) error {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// sleep says that it runs, then waits for SIGTERM.
func sleep([]string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	<-signals
	fmt.Println("terminated")
	return nil
}

// hog touches as many MiB of memory as asked for, in one call: a process that touches them itself needs its own program's pages for that, which are the
// first that a full control group gives back, so that the kernel takes minutes, reading and hashing them again and again, to see that nothing is left.
func hog(args []string) error {
	limit, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	held, err := syscall.Mmap(-1, 0, limit<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_POPULATE)
	if err != nil {
		return err
	}
	fmt.Println("held", len(held)>>20, "MiB")
	return nil
}

// spam writes as many bytes as asked for, in lines.
func spam(args []string) error {
	left, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	line := []byte(strings.Repeat("x", 63) + "\n")
	out := bufio.NewWriterSize(os.Stdout, 32<<10)
	for left > 0 {
		n, err := out.Write(line[:min(left, len(line))])
		if err != nil {
			return err
		}
		left -= n
	}
	return out.Flush()
}

func write(args []string) error {
	return os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")), 0o644)
}

func read(args []string) error {
	for _, path := range args {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", path, data)
	}
	return nil
}

// hash prints the SHA-256 of files, read to the end: it fails where a block does not have the content its tree says.
func hash(args []string) error {
	var failed error
	for _, path := range args {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fmt.Printf("%x  %s\n", h.Sum(nil), path)
	}
	return failed
}

// serve answers every connection on a TCP port with one HTTP response.
func serve(args []string) error {
	listener, err := net.Listen("tcp", ":"+args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		body := strings.Join(args[1:], " ") + "\n"
		// The whole head is read: closing a connection with unread input resets it.
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadString('\n')
			if err != nil || strings.TrimSpace(line) == "" {
				break
			}
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		conn.Close()
	}
}

// get fetches a page over TCP, trying anew until the server listens.
func get(args []string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		answer, err := request("tcp", args[0], "GET "+args[1]+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if err == nil {
			fmt.Print(answer)
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		fmt.Fprintln(os.Stderr, "workload:", err)
		time.Sleep(50 * time.Millisecond)
	}
}

// post sends a body to a unix socket: the way to the agent's broker.
func post(args []string) error {
	socket, path, body := args[0], args[1], strings.Join(args[2:], " ")
	answer, err := request("unix", socket, fmt.Sprintf(
		"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body))
	fmt.Print(answer)
	return err
}

func request(network, address, text string) (string, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 1<<20))
	return string(answer), err
}
