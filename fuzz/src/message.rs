//! The form of the inputs that are requests: lines, an empty line, and a body. A line that starts with a colon is not
//! part of the request but a directive to the target: `:now 1720000000`.

/// An input, split into its parts.
pub struct Message<'i> {
    directives: Vec<(&'i str, &'i str)>,
    /// The other lines before the first empty one.
    pub lines: Vec<&'i [u8]>,
    /// The text after it, unchanged.
    pub body: &'i [u8],
}

impl<'i> Message<'i> {
    /// Any bytes are a message.
    pub fn read(input: &'i [u8]) -> Self {
        let mut message = Self { directives: Vec::new(), lines: Vec::new(), body: b"" };
        let mut rest = input;
        loop {
            let (line, after) = split_line(rest);
            match line {
                b"" => {
                    message.body = after;
                    return message;
                }
                [b':', directive @ ..] => {
                    let directive = str::from_utf8(directive).unwrap_or_default();
                    message.directives.push(directive.split_once(' ').unwrap_or((directive, "")));
                }
                line => message.lines.push(line),
            }
            rest = after;
        }
    }

    /// The values of all directives with this name.
    pub fn directives(&self, name: &str) -> impl Iterator<Item = &'i str> {
        self.directives.iter().filter(move |(of, _)| *of == name).map(|(_, says)| *says)
    }

    /// The value of the first directive with this name.
    pub fn directive(&self, name: &str) -> Option<&'i str> {
        self.directives(name).next()
    }
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, b""),
    }
}
