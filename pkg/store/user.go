package store

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// User is a person with an account.
type User struct {
	ID           int64
	Username     string // as typed; unique without regard to case
	Email        string // as typed; unique without regard to case
	PasswordHash string // as auth.Passwords makes it
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// CreateUser adds user, and first as the runbook that they find when they sign
// in; both or neither. first may be nil. Ids and times are filled in, and the
// owner of first. The error is a Conflict that names the field, username or
// email, if somebody has it already.
func (s *Store) CreateUser(ctx context.Context, user *User, first *Runbook) error {
	now := s.now()
	user.CreatedAt, user.UpdatedAt = now, now
	return s.inTx(ctx, func(tx *gorm.DB) error {
		if err := tx.Create(user).Error; err != nil {
			return err
		}
		if first == nil {
			return nil
		}
		first.OwnerID = user.ID
		return createRunbook(tx, first, now)
	})
}

// FindUserByID returns the user, or a NotFound error.
func (s *Store) FindUserByID(ctx context.Context, id int64) (*User, error) {
	return s.findUser(ctx, "id = ?", id)
}

// FindUserByEmail returns the user with the address, in whatever case, or a
// NotFound error.
func (s *Store) FindUserByEmail(ctx context.Context, email string) (*User, error) {
	return s.findUser(ctx, "lower(email) = lower(?)", email)
}

func (s *Store) findUser(ctx context.Context, where string, value any) (user *User, err error) {
	err = s.run(ctx, func(db *gorm.DB) error {
		user, err = take[User](db.Where(where, value), "user")
		return err
	})
	return user, err
}
