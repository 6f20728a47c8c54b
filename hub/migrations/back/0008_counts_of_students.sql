DROP INDEX attendance_student_counts;
