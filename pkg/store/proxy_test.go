package store_test

import (
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"runbook/pkg/config"
)

// proxy stands between a store and its Postgres and can be cut.
type proxy struct {
	t        *testing.T
	upstream string
	address  string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	frozen   sync.RWMutex // held for writing while nothing passes
}

// newProxy returns a running proxy to the database, and the database's URL by
// way of it.
func newProxy(t *testing.T, dsn config.DatabaseURL) (*proxy, config.DatabaseURL) {
	t.Helper()
	parsed, err := url.Parse(dsn.Reveal())
	require.NoError(t, err)
	p := &proxy{t: t, upstream: parsed.Host, address: "127.0.0.1:0"}
	p.start()
	t.Cleanup(p.cut)
	parsed.Host = p.address
	return p, config.DatabaseURL(parsed.String())
}

// start listens, from the second time on at the same address.
func (p *proxy) start() {
	listener, err := net.Listen("tcp", p.address)
	require.NoError(p.t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener, p.address = listener, listener.Addr().String()
	go p.accept(listener)
}

// cut closes the listener and every connection, as a server that is killed does.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.listener.Close()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	p.conns = nil
}

// freeze keeps connections open but lets nothing pass, as a network that loses
// every packet does. It returns how to end that.
func (p *proxy) freeze() (thaw func()) {
	p.frozen.Lock()
	return p.frozen.Unlock
}

func (p *proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go p.pipe(client, server)
		go p.pipe(server, client)
	}
}

func (p *proxy) pipe(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.frozen.RLock()
		_, writeErr := to.Write(buf[:n])
		p.frozen.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}
