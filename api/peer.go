package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// adminGroup is the group whose members administer over the socket.
const adminGroup = "lockplate"

// peer is the process at the other end of a Unix socket.
type peer struct {
	name  string // "uid:N"
	admin bool
}

// peerOf asks the kernel who connected (SO_PEERCRED, unix(7)).
func peerOf(c *net.UnixConn) (peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return peer{}, fmt.Errorf("ask for peer credentials: %w", err)
	}
	return peer{
		name:  "uid:" + strconv.FormatUint(uint64(cred.Uid), 10),
		admin: mayAdminister(cred.Uid, cred.Gid, uint32(os.Getuid()), accountGroups{}),
	}, nil
}

// groups looks up accounts; the test has its own.
type groups interface {
	id(group string) (gid uint32, ok bool)
	of(uid uint32) []uint32
}

// mayAdminister says whether a peer is an administrator: root, the user that
// the gateway runs as, or a member of the group.
func mayAdminister(uid, gid, own uint32, g groups) bool {
	if uid == 0 || uid == own {
		return true
	}
	want, ok := g.id(adminGroup)
	return ok && (gid == want || slices.Contains(g.of(uid), want))
}

// accountGroups reads the system's account files at each call, so that a new
// member need not wait for a restart.
type accountGroups struct{}

func (accountGroups) id(name string) (uint32, bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	return parseID(g.Gid)
}

func (accountGroups) of(uid uint32) []uint32 {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	var out []uint32
	for _, s := range ids {
		if id, ok := parseID(s); ok {
			out = append(out, id)
		}
	}
	return out
}

// parseID reads a user or group number of the account files.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// ListenUnix listens on a socket that only root, the gateway's own user and
// the group lockplate (if there is one) can open. A socket that nobody
// listens on any more is replaced.
func ListenUnix(path string) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// No umask here: it would hit files that other goroutines make. Whoever
	// connects before the mode is set still has to prove who he is.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := restrict(path); err != nil {
		ln.Close()
		return nil, fmt.Errorf("restrict %s: %w", path, err)
	}
	return ln, nil
}

// restrict sets who may open a socket.
func restrict(path string) error {
	gid, ok := accountGroups{}.id(adminGroup)
	if !ok || os.Getuid() != 0 {
		return os.Chmod(path, 0o600)
	}
	return errors.Join(os.Chown(path, 0, int(gid)), os.Chmod(path, 0o660))
}

// removeStale deletes a socket that refuses connections, and only that.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is no socket: choose another path", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("listen on %s: %w: another process answers there", path, unix.EADDRINUSE)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
