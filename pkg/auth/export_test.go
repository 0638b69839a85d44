package auth

// Occupy takes a place among the hashes, until leave is called.
func (p *Passwords) Occupy() (leave func()) {
	p.slots <- struct{}{}
	return p.release
}
