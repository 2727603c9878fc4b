//! Where the elements lie that positions see.

use super::{Plan, Shape};

/// What a block of positions reads.
pub struct Rows {
    /// Positions of the block: the first one, counted through all images, and how many.
    pub first: usize,
    pub count: usize,
    /// Entries of the table from one segment to the next.
    pub step: usize,
}

/// Coordinates of a position: image, depth, height, width.
fn coordinates(shape: &Shape, position: usize) -> [usize; 4] {
    let [depth, height, width] = shape.positions.map(|n| n.max(1));
    let (row, x) = (position / width, position % width);
    let (slice, y) = (row / height, row % height);
    [slice / depth, slice % depth, y, x]
}

/// The element that a position and a tap see on one axis.
#[inline(always)]
fn seen(shape: &Shape, axis: usize, position: usize, tap: usize) -> Option<usize> {
    let at = position * shape.strides[axis] + tap * shape.dilations[axis];
    at.checked_sub(shape.pads[axis]).filter(|&at| at < shape.source[axis])
}

/// Fills the table with the addresses of the pixels that block `block` sees, tap by tap; padding is seen at `zeros`.
///
/// # Safety
/// `x` is valid for all elements of the images, and `table` for the addresses of a block.
pub unsafe fn addresses(plan: &Plan, block: usize, x: *const f32, zeros: *const f32, table: *mut *const f32) -> Rows {
    let shape = &plan.shape;
    let first = block * plan.block;
    let count = plan.block.min((shape.images * shape.area()).saturating_sub(first));
    let pixel = shape.groups * shape.channels;
    let [depth, height, width] = shape.source;
    let [mut image, mut z, mut y, mut at_x] = coordinates(shape, first);
    for i in 0..count {
        let mut tap = 0;
        for kz in 0..shape.taps[0] {
            let slice = seen(shape, 0, z, kz).map(|z| image * depth + z);
            for ky in 0..shape.taps[1] {
                let row = slice.and_then(|s| Some(s * height + seen(shape, 1, y, ky)?));
                for kx in 0..shape.taps[2] {
                    let from = match row.and_then(|r| Some(r * width + seen(shape, 2, at_x, kx)?)) {
                        Some(at) => x.wrapping_add(at * pixel),
                        None => zeros,
                    };
                    // SAFETY: the table has an entry per tap and position of the block.
                    unsafe { table.add(tap * count + i).write(from) };
                    tap += 1;
                }
            }
        }
        at_x += 1;
        if at_x == shape.positions[2] {
            (at_x, y) = (0, y + 1);
            if y == shape.positions[1] {
                (y, z) = (0, z + 1);
                if z == shape.positions[0] {
                    (z, image) = (0, image + 1);
                }
            }
        }
    }
    Rows { first, count, step: count }
}

/// Copies what block `block` sees, with padding, to `copy`, and fills the table with the first element that each position
/// sees in it.
///
/// # Safety
/// `x` is valid for all elements of the images, `copy` for those of a block, and `table` for an address per position.
pub unsafe fn copied(plan: &Plan, block: usize, x: *const f32, copy: *mut f32, table: *mut *const f32) -> Rows {
    let shape = &plan.shape;
    let [depth, height, width] = shape.positions;
    let (rows, columns) = (plan.copied_rows(), plan.copied_columns());
    let across = width.div_ceil(columns.max(1)).max(1);
    let down = height.div_ceil(rows).max(1);
    let (slice, rest) = (block / (across * down), block % (across * down));
    let (image, z) = (slice / depth.max(1), slice % depth.max(1));
    let (y, left) = (rest / across * rows, rest % across * columns);
    let (rows, columns) = (rows.min(height - y), columns.min(width - left));
    let [copied_rows, copied_columns] = plan.copy_sizes();
    let c = shape.channels;
    let [source_depth, source_height, source_width] = shape.source;
    let mut to = copy;
    // Columns of the copy that lie in the image.
    let begin = left * shape.strides[2];
    let before = shape.pads[2].saturating_sub(begin).min(copied_columns);
    let from = (begin + before).saturating_sub(shape.pads[2]);
    let inside = source_width.saturating_sub(from).min(copied_columns - before);
    let needed = (rows - 1) * shape.strides[1] + (shape.taps[1] - 1) * shape.dilations[1] + 1;
    for kz in 0..shape.taps[0] {
        let slice = seen(shape, 0, z, kz).map(|z| image * source_depth + z);
        for r in 0..copied_rows {
            let row = (y * shape.strides[1] + r).checked_sub(shape.pads[1]).filter(|&at| at < source_height);
            let end = (before + inside) * c;
            // SAFETY: the copy has `copied_columns` pixels per row; those of the image lie inside its row.
            unsafe {
                match (slice, row) {
                    (Some(slice), Some(row)) if r < needed && inside > 0 => {
                        to.write_bytes(0, before * c);
                        let from = x.add(((slice * source_height + row) * source_width + from) * c);
                        std::ptr::copy_nonoverlapping(from, to.add(before * c), inside * c);
                        to.add(end).write_bytes(0, copied_columns * c - end);
                    }
                    _ if r < needed => to.write_bytes(0, copied_columns * c),
                    _ => {}
                }
            }
            to = to.wrapping_add(copied_columns * c);
        }
    }
    for i in 0..rows * columns {
        let (r, column) = (i / columns, i % columns);
        let at = (r * shape.strides[1] * copied_columns + column * shape.strides[2]) * c;
        // SAFETY: the table has an entry per position of the block.
        unsafe { table.add(i).write(copy.wrapping_add(at)) };
    }
    let first = ((image * depth + z) * height + y) * width + left;
    Rows { first, count: rows * columns, step: 0 }
}

/// Segments of the contraction, their length, and where they begin relative to the addresses of positions.
///
/// # Safety
/// `shifts` is valid for as many elements as there are taps.
pub unsafe fn segments(plan: &Plan, shifts: *mut isize) -> (usize, usize) {
    let shape = &plan.shape;
    if !plan.copies {
        // SAFETY: the caller's promise.
        unsafe { (0..shape.window()).for_each(|t| shifts.add(t).write(0)) };
        return (shape.window(), shape.channels);
    }
    let [rows, columns] = plan.copy_sizes();
    let [slices, down, across] = shape.taps;
    for i in 0..slices * down {
        let (slice, tap) = (i / down, i % down);
        let at = (slice * rows + tap * shape.dilations[1]) * columns * shape.channels;
        // SAFETY: as above.
        unsafe { shifts.add(i).write(at as isize) };
    }
    (slices * down, across * shape.channels)
}
