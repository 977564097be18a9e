//! The methods of streams and their halves, which only pass calls on.

/// The methods that read, for a type with a method `socket`.
macro_rules! read_calls {
    ($type:ident $(<$($life:lifetime,)? $param:ident: $bound:ident>)?) => {
        /// Reading.
        impl $(<$($life,)? $param: $bound>)? $type $(<$($life,)? $param>)? {
            /// Reads data and leaves it in the receive queue. Cancel safe.
            pub async fn peek(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                $crate::task::wait::call(self.socket(), |calls| calls.peek(buf)).await
            }

            /// Reads what is there, or returns `WouldBlock`.
            pub fn try_read(&self, buf: &mut [u8]) -> ::std::io::Result<usize> {
                self.socket().calls_at_once().read(buf)
            }

            /// Reads what is there into several buffers, or returns `WouldBlock`.
            pub fn try_read_vectored(
                &self,
                bufs: &mut [::std::io::IoSliceMut<'_>],
            ) -> ::std::io::Result<usize> {
                self.socket().calls_at_once().read_vectored(bufs)
            }

            /// Reads what is there and appends it to the buffer, as much as it has room for without
            /// growing, or returns `WouldBlock`.
            pub fn try_read_buf<B: ::bytes::BufMut>(&self, buf: &mut B) -> ::std::io::Result<usize> {
                let slices = self.socket().calls_at_once().read_at_most(buf.chunk_mut().len())?;
                let len = slices.iter().map(::bytes::Bytes::len).sum();
                slices.into_iter().for_each(|slice| buf.put(slice));
                Ok(len)
            }

            /// Reads without a copy: waits, and takes the next slice of received data, at most
            /// `max` bytes. An empty slice is the end of the stream. Cancel safe.
            ///
            /// A slice keeps in memory the buffer of the frame that it came with.
            pub async fn recv_bytes(&self, max: usize) -> ::std::io::Result<::bytes::Bytes> {
                $crate::task::wait::call(self.socket(), |calls| calls.recv_bytes(max)).await
            }
        }
    };
}

/// The methods that write, for a type with a method `socket`.
macro_rules! write_calls {
    ($type:ident $(<$($life:lifetime,)? $param:ident: $bound:ident>)?) => {
        /// Writing.
        impl $(<$($life,)? $param: $bound>)? $type $(<$($life,)? $param>)? {
            /// Writes as much as there is room for, or returns `WouldBlock`.
            pub fn try_write(&self, data: &[u8]) -> ::std::io::Result<usize> {
                self.socket().calls_at_once().write_stream(data)
            }

            /// Writes slices one after the other, as much as there is room for, or returns
            /// `WouldBlock`.
            pub fn try_write_vectored(&self, data: &[::std::io::IoSlice<'_>]) -> ::std::io::Result<usize> {
                self.socket().calls_at_once().write_slices(data)
            }

            /// Writes without a copy: waits for room, and shares the bytes until the peer has
            /// acknowledged them. Returns how many bytes were taken. Cancel safe.
            pub async fn send_bytes(&self, bytes: ::bytes::Bytes) -> ::std::io::Result<usize> {
                $crate::task::wait::call(self.socket(), |calls| calls.write_bytes(bytes.clone())).await
            }
        }
    };
}

pub(super) use {read_calls, write_calls};
